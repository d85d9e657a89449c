"""This folder holds the instructions. Importing one of its modules registers those it builds."""

from . import (
    access,
    arithmetic,
    bits,
    cluster,
    control,
    conversion,
    copies,
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
    "bits",
    "cluster",
    "control",
    "conversion",
    "copies",
    "mbarrier",
    "mma",
    "tcgen05",
    "tensormap",
    "warp",
    "wgmma",
]
