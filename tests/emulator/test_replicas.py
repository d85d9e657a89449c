"""Values that differ by rounding alone are replicas; any others that meet are a race."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .conftest import hand_written

ARCHS = (80, 90)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def verify(kernel, args: list, wanted: dict[int, torch.Tensor], grid: int = 1) -> None:
    """No schedule reports anything, and all are right."""
    for schedule in SCHEDULES:
        mine = [a.clone() if hasattr(a, "clone") else a for a in args]
        counters = kernel.run((grid,), mine, schedule=schedule)
        assert not counters.report_counts, (schedule, counters.reports)
        for place, tensor in wanted.items():
            torch.testing.assert_close(mine[place], tensor, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_butterfly_of_fma(triton_kernel, arch, dtype):
    """64 elements in 128 threads: two lanes, and two warps, have every one."""
    x, y, z = random(64).to(dtype), random(128)[64:].to(dtype), torch.zeros(1, dtype=dtype)
    args = {"x_ptr": x, "y_ptr": y, "z_ptr": z}
    kernel = triton_kernel("dot", args, {"BLOCK": 64}, arch)
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.3}[dtype]
    for schedule in SCHEDULES:
        counters = kernel.run((1,), [x, y, z], schedule=schedule)
        assert not counters.report_counts, (schedule, counters.reports)
        assert abs(z.item() - (x.double() * y.double()).sum().item()) < tolerance


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("rows", "block"), [(1, 512), (8, 32)])
def test_a_combine_that_does_not_commute(triton_kernel, arch, rows, block):
    x, mean, var = random(rows, block), torch.zeros(rows), torch.zeros(rows)
    args = {"x_ptr": x, "mean_ptr": mean, "var_ptr": var}
    kernel = triton_kernel("welford", args, {"ROWS": rows, "BLOCK": block}, arch)
    verify(kernel, [x, mean, var], {1: x.mean(1), 2: x.var(1, correction=0)})


@pytest.mark.parametrize("arch", ARCHS)
def test_lines_of_matrices(triton_kernel, arch):
    x, y = random(16, 16), random(32, 16)[16:].clone()
    kernel = triton_kernel(
        "scaled_transpose", {"x_ptr": x, "y_ptr": y}, {"ROWS": 16, "BLOCK": 16}, arch
    )
    wanted = y.clone()
    wanted[0] = (x * (x * y).sum(1, keepdim=True)).sum(0)
    verify(kernel, [x, y], {1: wanted})


@pytest.mark.parametrize("arch", ARCHS)
def test_two_elements_for_one_place_are_none(triton_kernel, arch):
    x, y = random(64), torch.zeros(64)
    kernel = triton_kernel("pairs", {"x_ptr": x, "y_ptr": y}, {"BLOCK": 64}, arch)
    with pytest.raises(EmulationError, match="lanes of one store write different values to byte 0"):
        kernel.run((1,), [x, y])


HEAD = """ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.b32 %r3, buf;
mad.wide.u32 %rd2, %r1, 4, %rd1; ld.global.b32 %r4, [%rd2];\n"""
CANCELS = (
    HEAD
    + """shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1; add.f32 %r6, %r4, 0f4B800000;
fma.rn.f32 %r7, %r4, 0f3F800000, %r5; add.f32 %r7, %r7, 0f00000000; {}
and.b32 %r8, %r1, 30; mad.lo.s32 %r8, %r8, 4, %r3; st.shared.b32 [%r8], %r9;"""
)


def stores(body: str, x: np.ndarray) -> None:
    hand_written(body, "u64", shared=256).run((1,), [x])


@pytest.mark.parametrize(
    ("made", "match"),
    [
        # (x + 2^24) - 2^24 + y loses another half in each lane, and its sum is small
        ("add.f32 %r10, %r6, 0fCB800000; add.f32 %r9, %r10, %r5;", None),
        ("add.f32 %r9, %r4, %r5;", None),
        ("mul.f32 %r9, %r4, %r5;", None),
        ("sub.f32 %r9, %r4, %r5;", "different values"),
        ("fma.rn.f32 %r9, %r4, 0f3F800001, %r5;", None),  # a last bit apart
        ("fma.rn.f32 %r9, %r4, 0f3F808000, %r5;", "different values"),
        ("mov.b32 %r9, %r4;", "different values"),  # loaded, not computed
        ("mul.lo.s32 %r9, %r4, 3;", "different values"),
    ],
)
def test_what_is_close_enough(made, match):
    x = np.tile(np.array([0.3, -0.2]), 16).astype(np.float32)
    body = CANCELS.format(made)
    if match is None:
        stores(body, x)
    else:
        with pytest.raises(EmulationError, match=match):
            stores(body, x)


def test_what_went_round_a_loop_is_judged_as_it_is():
    """What made the value is gone: its operand has changed since."""
    body = (
        HEAD
        + """and.b32 %r8, %r1, 30; mad.lo.s32 %r8, %r8, 4, %r3; cvt.rn.f32.u32 %r5, %r1;
    mov.b32 %r6, %r5; add.f32 %r9, %r6, 0f3F800000; mov.b32 %r6, 0f00000000;
    st.shared.b32 [%r8], %r9;"""
    )
    with pytest.raises(EmulationError, match="different values"):
        stores(body, np.zeros(32, np.float32))


def test_integers_that_look_like_close_floats():
    """2^30 and 2^30 + 1 are floats a last bit apart."""
    body = HEAD + "add.s32 %r9, %r1, 0x40000000; st.shared.b32 [%r3], %r9;"
    with pytest.raises(EmulationError, match="different values"):
        stores(body, np.zeros(32, np.float32))
