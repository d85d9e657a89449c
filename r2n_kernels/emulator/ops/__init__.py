"""This folder holds the instructions. Importing one of its modules registers those it builds."""

from . import (
    access,
    arithmetic,
    atomics,
    bits,
    call,
    cluster,
    control,
    conversion,
    copies,
    integers,
    mbarrier,
    mma,
    tcgen05,
    tensormap,
    warp,
    wgmma,
)

__all__ = [
    "access",
    "arithmetic",
    "atomics",
    "bits",
    "call",
    "cluster",
    "control",
    "conversion",
    "copies",
    "integers",
    "mbarrier",
    "mma",
    "tcgen05",
    "tensormap",
    "warp",
    "wgmma",
]
