from __future__ import annotations

import pytest

from r2n_kernels.compiled.occupancy import occupancy
from r2n_kernels.kernels.targets import TARGETS


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "ctas", "share", "limit"),
    [
        # CUDA's occupancy calculator (cuda_occupancy.h) gives the same
        ("sm_90", 128, 0, 8, 2, 0.25, "registers"),
        ("sm_90", 129, 0, 8, 1, 0.125, "registers"),  # 17 registers x 8 round up to 136
        ("sm_80", 32, 0, 4, 16, 1.0, "registers"),
        ("sm_80", 16, 0, 1, 32, 0.5, "CTAs"),
        ("sm_80", 32, 163 * 1024, 8, 1, 0.125, "smem"),  # with 1 KiB reserved: the whole SM
        ("sm_90", 64, 75 * 1024, 4, 3, 0.1875, "smem"),
        ("sm_89", 40, 0, 8, 6, 1.0, "registers"),
        ("sm_86", 16, 0, 8, 6, 1.0, "warps"),
        ("gfx942", 128, 0, 4, 4, 0.5, "registers"),
        ("gfx942", 32, 32 * 1024, 4, 2, 0.25, "smem"),
        ("gfx942", 32, 0, 8, 4, 1.0, "warps"),
    ],
)
def test_known_cases(target, registers, shared, warps, ctas, share, limit):
    found = occupancy(registers, shared, warps, TARGETS[target])
    assert (found.ctas, found.warps, found.limit) == (ctas, share, limit)


def test_too_much_shared_memory():
    target = TARGETS["sm_86"]
    found = occupancy(32, target.shared_bytes + 1, 4, target)
    assert (found.ctas, found.limit) == (0, "smem")
