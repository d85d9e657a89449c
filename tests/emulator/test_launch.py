"""Triton kernels that shuffle, scan, reduce, count and diverge; arguments; strictness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .conftest import hand_written


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(("warps", "rows"), [(4, 4), (8, 2), (1, 8)])
def test_softmax(triton_kernel, arch, warps, rows):
    x = torch.randn(37, 50, generator=torch.Generator().manual_seed(0)).half()
    y = torch.zeros_like(x)
    constants = {"C": 50, "COLUMNS": 64, "ROWS": rows}
    kernel = triton_kernel(
        "softmax", {"x_ptr": x, "y_ptr": y, "n": 37}, constants, arch, num_warps=warps
    )
    instructions = []
    for schedule in SCHEDULES:
        y.zero_()
        counters = kernel.run((-(-37 // rows),), [x, y, 37], schedule=schedule, side_by_side=3)
        assert (y.float() - x.float().softmax(1)).abs().max() < 1e-3
        assert not counters.report_counts
        instructions.append(counters.instructions)
    assert all(count == instructions[0] for count in instructions)


@pytest.mark.parametrize("warps", [1, 4, 8])
def test_scan_and_transpose(triton_kernel, warps):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(-50, 50, (16, 64), generator=g, dtype=torch.int32)
    y, z = torch.zeros_like(x), torch.zeros(64, 16, dtype=torch.int32)
    kernel = triton_kernel("scan", {"x_ptr": x, "y_ptr": y, "z_ptr": z},
                           {"ROWS": 16, "COLUMNS": 64}, 90, num_warps=warps)  # fmt: skip
    for schedule in SCHEDULES:
        kernel.run((1,), [x, y, z], schedule=schedule)
        assert torch.equal(y, x.cumsum(1).int())
        assert torch.equal(z, x.t())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16])
def test_atomics(triton_kernel, dtype):
    """Also of wider elements than other accesses: all their bytes must come back."""
    x = torch.randint(0, 16, (512,), generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = torch.bincount(x.int(), minlength=16)
    counts, sums = torch.zeros(16, dtype=torch.int32), torch.zeros(16)
    args = {"x_ptr": x, "count_ptr": counts, "sum_ptr": sums}
    kernel = triton_kernel("histogram", args, {"BLOCK": 128}, 80, num_warps=2)
    for schedule in SCHEDULES:
        counts.zero_()
        sums.zero_()
        counters = kernel.run((4,), [x, counts, sums], schedule=schedule, side_by_side=2)
        assert torch.equal(counts, wanted.int())
        assert torch.equal(sums, (wanted * torch.arange(16)).float())
        assert counters.unique[1] == (64, 64)


@pytest.mark.parametrize(
    ("text", "start", "operand", "wanted"),
    [
        ("atom.global.add.u32", 5, 3, 5 + 32 * 3), ("atom.global.max.s32", 5, 9, 9),
        ("atom.global.min.u32", 5, 9, 5), ("atom.global.exch.b32", 5, 9, 9),
        ("atom.global.or.b32", 5, 8, 13), ("atom.global.and.b32", 5, 4, 4),
        ("atom.global.xor.b32", 5, 1, 5), ("atom.global.cas.b32", 5, 5, 7),
        ("atom.global.cas.b32", 5, 6, 5), ("atom.global.add.f32", 0, 0, 0),
    ],
)  # fmt: skip
def test_every_atomic(text, start, operand, wanted):
    last = ", 7" if "cas" in text else ""
    kernel = hand_written(
        f"ld.param.u64 %rd1, [p0]; {text} %r1, [%rd1], {operand}{last};"
        "setp.eq.u32 %p1, %r1, %r1; st.global.b32 [%rd1+4], %r1;", "u64",
    )  # fmt: skip
    data = np.array([start, 0], np.uint32)
    kernel.run((1,), [data], strict=False)
    assert data[0] == wanted


@pytest.mark.parametrize("warps", [4, 8])
def test_column_sum(triton_kernel, warps):
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    s = torch.zeros(32)
    constants = {"ROWS": 64, "COLUMNS": 32}
    kernel = triton_kernel("column_sum", {"x_ptr": x, "sum_ptr": s}, constants, 80, num_warps=warps)
    for schedule in SCHEDULES:
        counters = kernel.run((1,), [x, s], schedule=schedule)
        torch.testing.assert_close(s, x.sum(0))
        assert not counters.report_counts


@pytest.mark.parametrize("side_by_side", [None, 1, 5])
def test_programs_that_loop_unevenly_and_branch(triton_kernel, side_by_side):
    counts = torch.tensor([3, 0, 1, 5, 5, 2, 0, 7, 1], dtype=torch.int32)
    x = torch.randn(7, 128, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([x[:n].sum() for n in counts.tolist()])
    wanted[1::2] *= wanted[1::2].clone()
    y = torch.zeros(len(counts))
    args = {"x_ptr": x, "y_ptr": y, "counts_ptr": counts}
    kernel = triton_kernel("uneven", args, {"BLOCK": 128}, 90)
    for schedule in SCHEDULES:
        y.zero_()
        counters = kernel.run((len(counts),), [x, y, counts], schedule=schedule,
                              side_by_side=side_by_side)  # fmt: skip
        torch.testing.assert_close(y, wanted)
        assert not counters.report_counts
        assert counters.instructions["ret"] == 4 * len(counts)


def test_warps_that_branch_apart_and_meet_at_a_barrier():
    """Warp w of CTA c goes round a loop w + c times, then all read what all wrote."""
    kernel = hand_written(
        """mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; shr.u32 %r3, %r1, 5; mov.b32 %r4, buf;
        add.s32 %r5, %r3, %r2; mov.u32 %r6, 0;
        again: setp.ge.u32 %p1, %r6, %r5; @%p1 bra done; add.s32 %r6, %r6, 1; bra.uni again;
        done: mad.lo.s32 %r7, %r1, 4, %r4; st.shared.b32 [%r7], %r6; bar.sync 0;
        xor.b32 %r8, %r1, 96; mad.lo.s32 %r8, %r8, 4, %r4; ld.shared.b32 %r9, [%r8];
        mov.u32 %r10, %ntid.x; mad.lo.s32 %r10, %r2, %r10, %r1; ld.param.u64 %rd1, [p0];
        mad.wide.u32 %rd1, %r10, 4, %rd1; st.global.b32 [%rd1], %r9;""",
        "u64", shared=512, warps=4,
    )  # fmt: skip
    warp, cta = np.arange(128) // 32, np.arange(6)[:, None]
    for schedule in SCHEDULES:
        y = np.zeros((6, 128), np.int32)
        counters = kernel.run((6,), [y], schedule=schedule, seed=5)
        assert (y == (3 - warp) + cta).all(), schedule
        assert counters.instructions["bar.sync"] == 24
        # a group that splits at a branch repeats it: counted once a warp all the same
        rounds = sum(w + c for w in range(4) for c in range(6))
        assert counters.instructions["bra"] == 24 + rounds
        assert counters.instructions["bra.uni"] == rounds


def test_named_barriers_of_some_warps():
    """Warps 0 and 1 hand over at barrier 1, 2 and 3 at barrier 2."""
    kernel = hand_written(
        """mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 6; add.s32 %r2, %r2, 1; mov.b32 %r3, buf;
        mad.lo.s32 %r4, %r1, 4, %r3; st.shared.b32 [%r4], %r1; bar.sync %r2, 64;
        xor.b32 %r5, %r1, 32; mad.lo.s32 %r5, %r5, 4, %r3; ld.shared.b32 %r6, [%r5];
        ld.param.u64 %rd1, [p0]; mad.wide.u32 %rd1, %r1, 4, %rd1; st.global.b32 [%rd1], %r6;""",
        "u64", shared=512, warps=4,
    )  # fmt: skip
    for schedule in SCHEDULES:
        y = np.zeros(128, np.int32)
        kernel.run((1,), [y], schedule=schedule)
        assert (y == np.arange(128) ^ 32).all()


COPY = """ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1]; ld.param.u32 %r9, [p2];
mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, %r9; mad.wide.u32 %rd1, %r1, 4, %rd1;
mad.wide.u32 %rd2, %r1, 4, %rd2; @%p1 ld.global.b32 %r2, [%rd1]; @%p1 st.global.b32 [%rd2], %r2;"""


class TestArguments:
    def test_arrays_tensors_and_numbers(self):
        x, y = np.arange(32, dtype=np.int32), torch.zeros(32, dtype=torch.int32)
        hand_written(COPY, "u64 u64 u32").run((1,), [x, y, 32])
        assert (y.numpy() == x).all()

    def test_views_of_the_same_memory_stay_overlapping(self):
        x = np.arange(40, dtype=np.int32)
        hand_written(COPY, "u64 u64 u32").run((1,), [x[:8], x[4:12], 8])
        assert x[4:12].tolist() == list(range(8))
        assert x[12:].tolist() == list(range(12, 40))

    def test_a_float(self):
        kernel = hand_written("ld.param.f32 %r1, [p1]; ld.param.u64 %rd1, [p0];"
                              "st.global.b32 [%rd1], %r1;", "u64 f32")  # fmt: skip
        x = np.zeros(1, np.float32)
        kernel.run((1,), [x, 1.5], strict=False)
        assert x[0] == 1.5

    def test_missing_ones_are_zero(self):
        kernel = hand_written("ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1];"
                              "st.global.b64 [%rd1], %rd2;", "u64 u64")  # fmt: skip
        x = np.ones(1, np.int64)
        kernel.run((1,), [x], strict=False)
        assert x[0] == 0

    def test_a_signed_parameter_is_extended(self):
        kernel = hand_written("ld.param.s32 %rd2, [p1]; ld.param.u64 %rd1, [p0];"
                              "st.global.b64 [%rd1], %rd2;", "u64 u32")  # fmt: skip
        x = np.zeros(1, np.int64)
        kernel.run((1,), [x, -5], strict=False)
        assert x[0] == -5

    def test_too_many(self):
        with pytest.raises(EmulationError, match="4 arguments for 3 parameters"):
            hand_written(COPY, "u64 u64 u32").run((1,), [1, 2, 3, 4])

    @pytest.mark.parametrize("make", [np.zeros, lambda s, t: torch.zeros(s, dtype=torch.int32)])
    def test_strides(self, make):
        """Element 5 of memory is [5 // 8, 5 % 8], of a transposed view as well."""
        x = make((8, 8), np.int32)
        store = "ld.param.u64 %rd1, [p0]; st.global.b32 [%rd1+20], 7;"
        hand_written(store, "u64").run((1,), [x.T[1:7, ::2]], strict=False)
        assert x[0, 6] == 7  # the view starts at element 1
        assert (x != 0).sum() == 1

    def test_beyond_a_view(self):
        kernel = hand_written("ld.param.u64 %rd1, [p0]; st.global.b32 [%rd1+16], 7;", "u64")
        with pytest.raises(EmulationError, match="bounds"):
            kernel.run((1,), [np.zeros((4, 4), np.int32)[1]])

    def test_a_view_backwards(self):
        """Its pointer is its first element's, behind the others."""
        x = np.zeros(4, np.int32)
        kernel = hand_written("ld.param.u64 %rd1, [p0]; st.global.b32 [%rd1+-8], 7;", "u64")
        kernel.run((1,), [x[::-1]], strict=False)
        assert x.tolist() == [0, 7, 0, 0]

    def test_a_tensor_elsewhere(self):
        kernel = hand_written(COPY, "u64 u64 u32")
        with pytest.raises(EmulationError, match="must be on the CPU, got device meta"):
            kernel.run((1,), [torch.zeros(8, device="meta"), torch.zeros(8), 0])

    def test_an_unknown_schedule(self):
        with pytest.raises(ValueError, match=r"unknown schedule 'fast'; expected one of lockstep"):
            hand_written(COPY, "u64 u64 u32").run((1,), [1, 2, 0], schedule="fast")
