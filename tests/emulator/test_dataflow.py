"""Loads that no store of their warp depends on are dead, and meet nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .conftest import hand_written
from .test_replicas import ARCHS, random, verify


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("block", "n"), [(1, 1), (16, 10), (64, 64)])
def test_a_tile_smaller_than_the_cta(triton_kernel, arch, block, n):
    x = random(64)
    kernel = triton_kernel("increment", {"x_ptr": x, "n": n}, {"BLOCK": block}, arch)
    wanted = x.clone()
    wanted[:n] += 1
    verify(kernel, [x, n], {0: wanted})


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("n", [20, 50])
def test_softmax_in_place(triton_kernel, arch, n):
    x = random(n)
    block = 32 if n < 32 else 64
    kernel = triton_kernel("softmax_in_place", {"x_ptr": x, "n": n}, {"BLOCK": block}, arch)
    verify(kernel, [x, n], {0: x.softmax(0)})


@pytest.mark.parametrize("arch", ARCHS)
def test_what_another_lane_stores(triton_kernel, arch):
    x = random(64)
    kernel = triton_kernel("shift", {"x_ptr": x}, {"BLOCK": 64}, arch)
    for schedule in SCHEDULES:
        with pytest.raises(EmulationError, match=r"\[race\].*not ordered before it.*argument"):
            kernel.run((1,), [x.clone()], schedule=schedule)


HEAD = """ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 0; mov.b32 %r3, buf;
setp.lt.u32 %p6, %r1, 32; ld.global.b32 %r4, [%rd1];\n"""
DEAD = "@%p1 st.global.b32 [%rd1], %r4;"


@pytest.mark.parametrize(
    ("body", "dead"),
    [
        ("", True),
        ("add.s32 %r4, %r4, 1;", True),
        # by all lanes of the warp that stores
        ("shfl.sync.bfly.b32 %r4, %r4, 1, 31, -1;", True),
        # what it decides on is no more than what the predicate allows
        ("and.pred %p2, %p1, %p6; @%p2 st.global.b32 [%rd1+8], %r4;", True),
        ("setp.eq.u32 %p3, %r4, 9; and.pred %p4, %p3, %p1; @%p4 st.global.b32 [%rd1+8], %r1;",
         True),
        # live: another warp stores it, branches on it, shares it, takes it for an address
        ("setp.eq.u32 %p3, %r1, 32; @%p3 st.global.b32 [%rd1+8], %r4;", False),
        ("not.pred %p3, %p1; @%p3 st.global.b32 [%rd1+8], %r4;", False),
        ("setp.eq.u32 %p3, %r4, 9; @%p3 bra out; out:", False),
        ("setp.eq.u32 %p3, %r4, 9; @%p3 st.global.b32 [%rd1+8], 3;", False),
        ("mad.lo.s32 %r6, %r1, 4, %r3; st.shared.b32 [%r6], %r4;", False),
        ("mad.wide.u32 %rd3, %r4, 4, %rd1; ld.global.b32 %r5, [%rd3+4];", False),
        ("or.pred %p2, %p1, %p6; xor.pred %p2, %p2, %p1; @!%p2 st.global.b32 [%rd1+8], %r4;",
         False),
    ],
)  # fmt: skip
def test_what_a_load_can_do(body, dead):
    """Two warps load a word, which the first one then stores."""
    kernel = hand_written(HEAD + body + DEAD, "u64", shared=256, warps=2)
    for schedule in SCHEDULES:
        x = np.zeros(64, np.int32)
        if dead:
            assert not kernel.run((1,), [x], schedule=schedule).report_counts
        else:
            with pytest.raises(EmulationError, match=r"\[race\]"):
                kernel.run((1,), [x], schedule=schedule)


def test_a_load_that_nothing_uses_counts():
    """Whoever wrote it meant something, and a compiler would have dropped it."""
    body = HEAD.replace("ld.global.b32 %r4", "ld.global.b32 %r5") + DEAD
    with pytest.raises(EmulationError, match=r"\[race\]"):
        hand_written(body, "u64", warps=2).run((1,), [torch.zeros(8)])
