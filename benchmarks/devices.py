"""What GPUs can do, by their makers: the ceilings of a roofline.

Peaks are of dense float16 products that add up in float32, without sparsity. L2 passes 64 bytes a
clock to each SM (NVIDIA A100 whitepaper, p. 34: 5120 bytes a clock in all, which is what the A100
has; other chips: 64 a clock and SM, an upper bound), at the boost clock.
"""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Device:
    """flops: a second (two a multiply-accumulate); bandwidth, l2_bandwidth: bytes a second.

    called: the driver's names for it.
    """

    name: str
    target: str  # of kernels.targets.TARGETS
    flops: float
    bandwidth: float
    l2_bandwidth: float
    l2_bytes: float
    sms: int
    source: str
    called: tuple[str, ...]


def _device(
    name: str, target: str, tflops: float, gbytes: float, l2_mib: float, sms: int, ghz: float,
    source: str, called: tuple[str, ...], l2_clock: int | None = None,
) -> Device:  # fmt: skip
    l2 = (l2_clock or 64 * sms) * ghz * GIGA
    return Device(
        name, target, tflops * TERA, gbytes * GIGA, l2, l2_mib * 2**20, sms, source, called
    )


DEVICES = {
    device.name: device
    for device in (
        _device("A100-SXM-80GB", "sm_80", 312, 2039, 40, 108, 1.41,
                "NVIDIA A100 datasheet and whitepaper", ("NVIDIA A100-SXM4-80GB",), 5120),
        _device("H100-SXM", "sm_90", 989, 3350, 50, 132, 1.83,
                "NVIDIA H100 datasheet and whitepaper", ("NVIDIA H100 80GB HBM3",)),
        _device("H200-SXM", "sm_90", 989, 4800, 50, 132, 1.83,
                "NVIDIA H200 datasheet", ("NVIDIA H200",)),
        _device("B200", "sm_100", 2250, 8000, 126, 148, 1.97,
                "NVIDIA Blackwell datasheet", ("NVIDIA B200",)),
        _device("RTX-3090", "sm_86", 71, 936, 6, 82, 1.70,
                "NVIDIA GA102 whitepaper", ("NVIDIA GeForce RTX 3090",)),
        _device("RTX-4090", "sm_89", 165.2, 1008, 72, 128, 2.52,
                "NVIDIA Ada whitepaper", ("NVIDIA GeForce RTX 4090",)),
        _device("RTX-5090", "sm_120", 209.5, 1792, 96, 170, 2.41,
                "NVIDIA RTX Blackwell paper", ("NVIDIA GeForce RTX 5090",)),
    )
}  # fmt: skip
