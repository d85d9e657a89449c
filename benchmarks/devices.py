"""This file lists what GPUs can do at most: the ceilings of a roofline.

Peaks are by the makers: dense float16 products that add up in float32, and int8 ones in int32,
without sparsity, at the boost clock. GeForce cards add up float16 at half rate in float32, so that
int8 is four times as fast there, and twice elsewhere. No maker states what the SMs can read from
L2, so that is what others have measured, or a guess from what they measured on the same die.
"""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9
RRZE = "RRZE-HPC/gpu-benches, gpu-l2-cache"
CHIPS = "Chips and Cheese"


@dataclass(frozen=True)
class CacheReads:
    """CacheReads are bytes per second that SMs read from L2, low and high where sources differ.

    guess: no measurement of this GPU was found; the source says from what the figures are scaled.
    """

    low: float
    high: float
    source: str
    guess: bool = False

    def __str__(self) -> str:
        ends = dict.fromkeys(f"{end / TERA:.1f}" for end in (self.low, self.high))
        return f"{'-'.join(ends)} TB/s, {'' if self.guess else 'measured: '}{self.source}"


@dataclass(frozen=True)
class Device:
    """A Device describes a GPU by its maker's figures."""

    name: str
    target: str  # of kernels.targets.TARGETS
    flops: float  # per second, two per multiply-accumulate
    int8: float  # the same, of int8
    bandwidth: float  # bytes of memory per second
    l2: CacheReads
    source: str  # of flops and bandwidth
    driver_name: str


def _device(
    name: str, target: str, tflops: float, tops: float, gbytes: float, source: str,
    driver_name: str, l2: tuple[float, float], l2_source: str, guess: bool = False,
) -> Device:  # fmt: skip
    """Make a Device from TFLOP/s, TOP/s of int8, GB/s and L2's TB/s."""
    reads = CacheReads(l2[0] * TERA, l2[1] * TERA, l2_source, guess)
    peaks = tflops * TERA, tops * TERA, gbytes * GIGA
    return Device(name, target, *peaks, reads, source, driver_name)


DEVICES = {
    device.name: device
    for device in (
        _device("A100-SXM-80GB", "sm_80", 312, 624, 2039, "NVIDIA A100 datasheet and whitepaper",
                "NVIDIA A100-SXM4-80GB", (5.4, 5.4), RRZE),
        _device("H100-SXM", "sm_90", 989, 1979, 3350, "NVIDIA H100 datasheet and whitepaper",
                "NVIDIA H100 80GB HBM3", (7.0, 9.7),
                f"{RRZE}: 7.0 on an H100 PCIe, 9.7 on an H200, both the same die"),
        _device("H200-SXM", "sm_90", 989, 1979, 4800, "NVIDIA H200 datasheet",
                "NVIDIA H200", (9.6, 10.2), RRZE),
        _device("B200", "sm_100", 2250, 4500, 8000, "NVIDIA Blackwell datasheet",
                "NVIDIA B200", (16.8, 21.0),
                f"{CHIPS}, December 2025: 16.8 across the two dies, 21 within one"),
        _device("RTX-3090", "sm_86", 71, 284, 936, "NVIDIA GA102 whitepaper",
                "NVIDIA GeForce RTX 3090", (2.1, 2.4),
                "a guess, from 2.4 on an A40, the same die, in RRZE-HPC/gpu-benches, gpu-cache; "
                "low: fewer SMs, and as much less as gpu-l2-cache is on an L40",
                guess=True),
        _device("RTX-4090", "sm_89", 165.2, 660.6, 1008, "NVIDIA Ada whitepaper",
                "NVIDIA GeForce RTX 4090", (4.9, 5.2),
                "4.9 by cp.async in smallscientist1/cuda_microbenchmark; "
                f"5.2 on an L40, the same die, in {RRZE}"),
        _device("RTX-5090", "sm_120", 209.5, 838, 1792, "NVIDIA RTX Blackwell paper",
                "NVIDIA GeForce RTX 5090", (6.5, 7.9),
                "a guess, scaled by size of L2 (6.5) and SMs (7.9) from 8.7 on an RTX PRO 6000 "
                f"Blackwell, the same die: {CHIPS}, June 2025", guess=True),
    )
}  # fmt: skip
