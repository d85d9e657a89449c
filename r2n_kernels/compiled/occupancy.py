"""How many CTAs of a kernel fit on an SM at once, by its registers, shared memory and warps.

An upper bound from the limits of the chip (CUDA programming guide, technical specifications per
compute capability; CDNA 3 ISA guide), not a measurement. Tensor memory (sm_100) is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels.targets import KIB, Target

REGISTERS = 65536  # of an NVIDIA SM, 32 bits each
WARP_REGISTERS = 256  # granularity of their allocation to a warp
PARTITIONS = 4  # of an SM or compute unit; a warp lives in one
RESERVED_SHARED = KIB  # of every CTA, from sm_80 on
SHARED_UNIT = 128
VECTOR_REGISTERS, VECTOR_UNIT = 512, 8  # of an AMD SIMD's lane, accumulators included
LDS_UNIT = 512


@dataclass(frozen=True)
class Occupancy:
    """ctas: per SM; 0 where one alone does not fit. limit: what binds first."""

    ctas: int
    warps: float  # share of the SM's warps
    limit: str


def occupancy(registers: int, shared: int, warps: int, target: Target) -> Occupancy:
    """registers: per thread; shared: bytes a CTA; warps: a CTA."""
    if target.backend == "cuda":
        warp = _round(registers * target.warp_size, WARP_REGISTERS)
        resident = REGISTERS // PARTITIONS // warp * PARTITIONS if warp else target.sm_warps
        used = _round(shared + RESERVED_SHARED, SHARED_UNIT)
    else:
        per_lane = _round(max(registers, 1), VECTOR_UNIT)
        resident = VECTOR_REGISTERS // per_lane * PARTITIONS
        used = _round(shared, LDS_UNIT)
    limits = {
        "registers": resident // warps,
        "smem": target.sm_shared_bytes // used if used else target.sm_ctas,
        "warps": target.sm_warps // warps,
        "CTAs": target.sm_ctas,
    }
    limit = min(limits, key=lambda name: limits[name])
    ctas = 0 if shared > target.shared_bytes else limits[limit]
    return Occupancy(ctas, ctas * warps / target.sm_warps, limit)


def _round(value: int, unit: int) -> int:
    return -(-value // unit) * unit
