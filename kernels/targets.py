"""Kernels are compiled for these GPUs, whose limits tiles must respect.

Shared memory, registers, warps and CTAs: CUDA programming guide, table of technical specifications
per compute capability; AMD: CDNA 3 ISA guide. `sms` is that of the largest common chip.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

KIB = 1024


@dataclass(frozen=True)
class Target:
    """An architecture has limits per SM (AMD: compute unit), shared_bytes per CTA."""

    name: str
    backend: str  # Triton's name: cuda or hip
    arch: int | str  # as Triton's GPUTarget takes it
    warp_size: int
    shared_bytes: int
    sm_shared_bytes: int
    sm_warps: int
    sm_ctas: int
    sms: int
    chip: str
    no_gluon: str = ""  # why kernels that are written in Gluon do not run there; "": they do

    @property
    def capability(self) -> int:
        """Return the compute capability, 90 for 9.0; 0 for an AMD GPU, which has none."""
        return self.arch if isinstance(self.arch, int) else 0

    @property
    def wgmma(self) -> bool:
        """Return whether four warps multiply together, with sums in their registers."""
        return self.capability == 90

    @property
    def async_products(self) -> bool:
        """Return whether products run beside the warps: wgmma, or tcgen05.mma of sm_100 on."""
        return 90 <= self.capability < 120


def _nvidia(
    arch: int, cta_kib: int, sm_kib: int, warps: int, ctas: int, sms: int, chip: str,
    no_gluon: str = "",
) -> Target:  # fmt: skip
    return Target(
        f"sm_{arch}", "cuda", arch, 32, cta_kib * KIB, sm_kib * KIB, warps, ctas, sms, chip,
        no_gluon,
    )  # fmt: skip


TARGETS = {
    target.name: target
    for target in (
        _nvidia(80, 163, 164, 64, 32, 108, "A100"),
        _nvidia(86, 99, 100, 48, 16, 82, "RTX 3090"),
        _nvidia(89, 99, 100, 48, 24, 128, "RTX 4090, L40S"),
        _nvidia(90, 227, 228, 64, 32, 132, "H100"),
        _nvidia(100, 227, 228, 64, 32, 148, "B200", "sums in tensor memory are yet to be done"),
        _nvidia(120, 99, 100, 48, 24, 170, "RTX 5090"),
        Target(
            "gfx942",
            "hip",
            "gfx942",
            64,
            64 * KIB,
            64 * KIB,
            32,
            32,
            304,
            "MI300X",
            "they use NVIDIA's instructions",
        ),
    )
}
NVIDIA = tuple(name for name, target in TARGETS.items() if target.backend == "cuda")  # have PTX
DEFAULT = TARGETS["sm_90"]  # used when the caller names no target
# One program after the other: the largest tiles are the fastest.
INTERPRETER = dataclasses.replace(
    DEFAULT, name="interpreter", sms=1, chip="Triton's interpreter",
    no_gluon="Triton's interpreter does not run Gluon",
)  # fmt: skip
MIN_CAPABILITY = 80


def target_of(device: torch.device) -> Target | None:
    """Return the target of a CUDA or ROCm device; None where no kernel of ours runs on it.

    A chip that is not in the table (a newer one, or a sibling such as sm_87) gets the row of the
    nearest older one, with its own shared memory and number of SMs.
    """
    if device.type != "cuda":
        return None
    import torch  # here: the command line names targets, and does not wait for torch to say them

    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        name = properties.gcnArchName.partition(":")[0]
        return _sized(name, name, properties) if name[:4] == "gfx9" else None
    capability = 10 * properties.major + properties.minor
    if capability < MIN_CAPABILITY:
        return None
    return _sized(f"sm_{capability}", capability, properties)


def without_gluon(target: Target, reason: str) -> Target:
    """Return the target without kernels in Gluon, if it has any; the reason ends in notes."""
    return target if target.no_gluon else dataclasses.replace(target, no_gluon=reason)


def nearest(arch: int | str) -> Target:
    """Return the table's row for an architecture: its own, or that of the nearest older one."""
    if isinstance(arch, str):
        return TARGETS["gfx942"]
    older = [target for target in TARGETS.values() if 0 < target.capability <= arch]
    return max(older, key=lambda target: target.capability)


def _sized(name: str, arch: int | str, properties: Any) -> Target:
    row = nearest(arch)
    shared = getattr(properties, "shared_memory_per_block_optin", 0) or row.shared_bytes
    return Target(
        name, row.backend, arch, row.warp_size, shared, max(shared, row.sm_shared_bytes),
        row.sm_warps, row.sm_ctas, properties.multi_processor_count, properties.name,
        row.no_gluon,
    )  # fmt: skip
