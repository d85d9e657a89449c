"""The instructions. Importing a module of this folder registers those that it builds."""

from . import (
    access,
    arithmetic,
    bits,
    control,
    conversion,
    copies,
    mbarrier,
    mma,
    tcgen05,
    warp,
    wgmma,
)

__all__ = [
    "access",
    "arithmetic",
    "bits",
    "control",
    "conversion",
    "copies",
    "mbarrier",
    "mma",
    "tcgen05",
    "warp",
    "wgmma",
]
