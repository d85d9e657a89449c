"""Triton's kernels that diverge, call, print, assert, keep local arrays and wait for each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError, UnsupportedError

from .conftest import hand_written

ARCHS = [80, 90]


@pytest.mark.parametrize("arch", [80, 90, 100, 120])
def test_functions_with_branches(triton_kernel, arch):
    x, y = torch.linspace(-4, 4, 256), torch.zeros(256)
    triton_kernel("erf", {"x_ptr": x, "y_ptr": y}, {"BLOCK": 256}, arch).run((1,), [x, y])
    torch.testing.assert_close(y, torch.erf(x) + torch.tanh(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("arch", ARCHS)
def test_large_angles_take_a_table_and_local_memory(triton_kernel, arch):
    x = torch.cat([torch.linspace(-3e6, 3e6, 200), torch.linspace(-9, 9, 54),
                   torch.tensor([1e30, math.inf])])  # fmt: skip
    y, z = torch.zeros(256), torch.zeros(256)
    kernel = triton_kernel("trigonometry", {"x_ptr": x, "y_ptr": y, "z_ptr": z},
                           {"BLOCK": 256}, arch)  # fmt: skip
    for schedule in ("lockstep", "random"):
        counters = kernel.run((1,), [x, y, z], schedule=schedule)
        assert not counters.report_counts
        wanted = x.double()
        assert (y - wanted.sin()).abs()[:-1].max() < 1e-6
        assert (z - wanted.cos()).abs()[:-1].max() < 1e-6
        assert y[-1].isnan()


def test_normal_numbers(triton_kernel):
    y = torch.zeros(1024)
    triton_kernel("normal", {"y_ptr": y, "seed": 1}, {"BLOCK": 256}, 80).run((4,), [y, 11])
    assert abs(y.mean()) < 0.1
    assert abs(y.std() - 1) < 0.1
    assert len(y.unique()) > 1000


def test_division_of_long_integers(triton_kernel):
    """Numbers of 32 bits go the short way, in the same warps."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(-(1 << 62), 1 << 62, 256) >> rng.integers(0, 62, 256))
    y = torch.from_numpy(rng.integers(1, 1 << 62, 256) >> rng.integers(0, 62, 256)).clamp(min=1)
    q, r = torch.zeros_like(x), torch.zeros_like(x)
    args = {"x_ptr": x, "y_ptr": y, "q_ptr": q, "r_ptr": r}
    triton_kernel("division", args, {"BLOCK": 256}, 90).run((1,), [x, y, q, r])
    assert torch.equal(q, x.div(y, rounding_mode="trunc"))
    assert torch.equal(r, torch.fmod(x, y))


@pytest.mark.parametrize("arch", ARCHS)
def test_device_print(triton_kernel, capsys, arch):
    x = torch.arange(256, dtype=torch.int32) % 100
    kernel = triton_kernel("talk", {"x_ptr": x, "n": 26}, {"BLOCK": 128}, arch, debug=True)
    kernel.run((2,), [x, 26])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 3 * 128
    assert "pid (0, 0, 0) idx (  5) x: 5" in lines
    assert "pid (1, 0, 0) idx (127) x: 55" in lines
    assert "pid (1, 0, 0) idx (  3) half: 15.500000" in lines
    assert lines.count("pid (1, 0, 0) idx () n: 0x0000001a") == 128, lines[200:300]


def test_device_assert(triton_kernel):
    x = torch.arange(256, dtype=torch.int32) % 100
    x[200] = 150
    kernel = triton_kernel("talk", {"x_ptr": x, "n": 26}, {"BLOCK": 128}, 90, debug=True)
    with pytest.raises(
        EmulationError,
        match=r"control_kernels.py:\d+: device_assert failed: x is too large \| control_kernels.py:"
        r"\d+ in \w+ \| CTA \(1, 0, 0\), warp 2, lane 8",
    ):
        kernel.run((2,), [x, 26])


def test_functions_that_are_no_part_of_their_caller(triton_kernel):
    """With several results, one of them in a branch; a function in a function."""
    x, y = torch.tensor([3, 5], dtype=torch.int32), torch.zeros(128)
    kernel = triton_kernel("call", {"x_ptr": x, "y_ptr": y}, {"BLOCK": 128}, 80)
    for first in (3, 6):
        x[0] = first

        def helper(a, b):
            return a * b + (7 if a > 3 else 0), a / 2

        s, half = helper(first, 5)
        kernel.run((1,), [x, y])
        assert (y == s + half + sum(helper(s, s + 1))).all()


def test_calls_of_anything_else_are_refused():
    body = "{ .param .b64 param0; .param .b32 retval0; call.uni (retval0), malloc, (param0); }"
    with pytest.raises(UnsupportedError, match="call of what is not inlined"):
        hand_written(body)


def test_local_memory():
    """Generic addresses reach it too; lanes see only their own."""
    kernel = hand_written(
        """.local .align 8 .b8 depot[24]; mov.b64 %rd5, depot; cvta.local.u64 %rd6, %rd5;
        mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 1; mul.wide.u32 %rd7, %r2, 8;
        add.u64 %rd7, %rd6, %rd7;
        mov.u32 %r3, 5; st.local.v2.b32 [%rd5+16], {%r1, %r3}; st.b32 [%rd7], %r1;
        ld.param.u64 %rd1, [p0]; mad.wide.u32 %rd2, %r1, 4, %rd1; setp.lt.u32 %p1, %r1, 40;
        selp.b64 %rd8, %rd7, %rd2, %p1; ld.b32 %r5, [%rd8]; ld.local.b32 %r6, [%rd5+20];
        add.u32 %r5, %r5, %r6; st.global.b32 [%rd2], %r5;""", "u64", warps=2,
    )  # fmt: skip
    y = np.arange(100, 164, dtype=np.uint32)
    for schedule in SCHEDULES:
        y = np.arange(100, 164, dtype=np.uint32)
        kernel.run((1,), [y], schedule=schedule)
        lanes = np.arange(64)
        assert np.array_equal(y, np.where(lanes < 40, lanes, 100 + lanes) + 5)
    wrong = hand_written(
        ".local .align 8 .b8 depot[24]; mov.b64 %rd5, depot; ld.local.b64 %rd6, [%rd5+24];"
    )
    with pytest.raises(EmulationError, match=r"\[bounds\].*byte 24 of a lane's local memory \(24"):
        wrong.run((1,), [])


class TestWaiting:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("arch", ARCHS)
    def test_a_spin_lock(self, triton_kernel, arch, schedule):
        x = torch.randint(0, 99, (20, 128), dtype=torch.int32)
        lock, total = torch.zeros(1, dtype=torch.int32), torch.zeros(128, dtype=torch.int32)
        args = {"lock_ptr": lock, "x_ptr": x, "sum_ptr": total}
        kernel = triton_kernel("locked_sum", args, {"BLOCK": 128}, arch)
        kernel.run((20,), [lock, x, total], schedule=schedule, side_by_side=6, strict=True)
        assert torch.equal(total, x.sum(0).int())
        assert lock.item() == 0

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_persistent_programs(self, triton_kernel, schedule):
        x = torch.arange(17 * 64, dtype=torch.int32)
        y, counter = torch.zeros_like(x), torch.zeros(1, dtype=torch.int32)
        args = {"counter_ptr": counter, "x_ptr": x, "y_ptr": y, "tiles": 17}
        kernel = triton_kernel("persistent", args, {"BLOCK": 64}, 90)
        kernel.run((5,), [counter, x, y, 17], schedule=schedule, side_by_side=3, strict=True)
        assert torch.equal(y, 2 * x)
        assert counter.item() == 17 + 5

    @pytest.mark.parametrize("side_by_side", [None, 1, 3])
    def test_decoupled_look_back(self, triton_kernel, side_by_side):
        x = torch.randint(0, 99, (7 * 128,), dtype=torch.int32)
        y = torch.zeros_like(x)
        total, flag = (torch.zeros(7, dtype=torch.int32) for _ in range(2))
        args = {"x_ptr": x, "y_ptr": y, "total_ptr": total, "flag_ptr": flag}
        kernel = triton_kernel("look_back", args, {"BLOCK": 128}, 80)
        kernel.run((7,), [x, y, total, flag], side_by_side=side_by_side, strict=True)
        assert torch.equal(y, x.cumsum(0).int())

    def test_programs_in_line(self, triton_kernel):
        """In any order: those that come first may wait for those that come last."""
        x = torch.randint(0, 99, (8, 128), dtype=torch.int32)
        y, lock = torch.zeros(2, 128, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
        args = {"x_ptr": x, "y_ptr": y, "lock_ptr": lock}
        kernel = triton_kernel("stream_k", args, {"SPLITS": 4, "BLOCK": 128}, 90)
        kernel.run((8,), [x, y, lock], ctas=[7, 3, 6, 2, 5, 1, 4, 0], side_by_side=2, strict=True)
        assert torch.equal(y, x.view(2, 4, 128).sum(1).int())

    def test_who_waits_is_named(self, triton_kernel):
        flag, y = torch.zeros(1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
        kernel = triton_kernel("counter_of_nobody", {"flag_ptr": flag, "y_ptr": y}, {}, 80)
        with pytest.raises(
            EmulationError,
            match=r"all wait for ever: CTA \(0, 0, 0\) warps 0-3 poll .*"
            r"argument .*in control_kernels.py:\d+ \(",
        ):
            kernel.run((1,), [flag, y])
