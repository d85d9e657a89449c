"""The GPUs that kernels are compiled for, with the limits that tiles must respect.

Shared memory, registers, warps and CTAs: CUDA programming guide, table of technical specifications
per compute capability; AMD: CDNA 3 ISA guide. `sms` is that of the largest common chip.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

KIB = 1024


@dataclass(frozen=True)
class Target:
    """One architecture. shared_bytes is per CTA, the other limits per SM (AMD: compute unit)."""

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


def _nvidia(arch: int, cta_kib: int, sm_kib: int, warps: int, ctas: int, sms: int, chip: str):
    return Target(
        f"sm_{arch}", "cuda", arch, 32, cta_kib * KIB, sm_kib * KIB, warps, ctas, sms, chip
    )


TARGETS = {
    target.name: target
    for target in (
        _nvidia(80, 163, 164, 64, 32, 108, "A100"),
        _nvidia(86, 99, 100, 48, 16, 82, "RTX 3090"),
        _nvidia(89, 99, 100, 48, 24, 128, "RTX 4090, L40S"),
        _nvidia(90, 227, 228, 64, 32, 132, "H100"),
        _nvidia(100, 227, 228, 64, 32, 148, "B200"),
        _nvidia(120, 99, 100, 48, 24, 170, "RTX 5090"),
        Target("gfx942", "hip", "gfx942", 64, 64 * KIB, 64 * KIB, 32, 32, 304, "MI300X"),
    )
}
DEFAULT = TARGETS["sm_90"]  # where nobody names one
# One program after the other: the largest tiles are the fastest.
INTERPRETER = dataclasses.replace(DEFAULT, name="interpreter", sms=1, chip="Triton's interpreter")
MIN_CAPABILITY = (8, 0)


def target_of(device: torch.device) -> Target | None:
    """The target of a CUDA or ROCm device; None where no kernel of ours runs on it.

    A chip that is not in the table (a newer one, or a sibling such as sm_87) gets the row of the
    nearest older one, with its own shared memory and number of SMs.
    """
    if device.type != "cuda":
        return None
    import torch  # here: the command line names targets, and does not wait for torch to say them

    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        arch = properties.gcnArchName.partition(":")[0]
        return _sized(nearest("hip", arch), arch, arch, properties) if arch[:4] == "gfx9" else None
    capability = (properties.major, properties.minor)
    if capability < MIN_CAPABILITY:
        return None
    arch = 10 * properties.major + properties.minor
    return _sized(nearest("cuda", arch), f"sm_{arch}", arch, properties)


def nearest(backend: str, arch: int | str) -> Target:
    """Return the table's row for an architecture: its own, or that of the nearest older one."""
    if backend == "hip":
        return TARGETS["gfx942"]
    older = [t for t in TARGETS.values() if t.backend == "cuda" and t.arch <= arch]
    return max(older, key=lambda t: t.arch)


def _sized(row: Target, name: str, arch: int | str, properties) -> Target:
    shared = getattr(properties, "shared_memory_per_block_optin", 0) or row.shared_bytes
    return Target(
        name, row.backend, arch, row.warp_size, shared, max(shared, row.sm_shared_bytes),
        row.sm_warps, row.sm_ctas, properties.multi_processor_count, properties.name,
    )  # fmt: skip
