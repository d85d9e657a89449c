"""Lanes of a warp part and meet again: random programs, what warps do as one, refusals."""

from __future__ import annotations

import random

import numpy as np
import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError, UnsupportedError

from .conftest import hand_written

THREADS, BLOCKS, FUEL, MASK = 64, 7, 12, 0xFFFFFFFF
OPS = {"add": lambda a, b: a + b, "xor": lambda a, b: a ^ b, "mul.lo": lambda a, b: a * b}
IDENTITY = "mov.u32 %r1, %tid.x; mov.u32 %r9, %ctaid.x; mad.lo.u32 %r8, %r9, 64, %r1;"
STORE = "ld.param.u64 %rd1, [p0]; mad.wide.u32 %rd2, %r8, 4, %rd1; st.global.b32 [%rd2], %r2;"


def random_program(seed: int):
    """Blocks of (operations, bit of %r2 that decides, where to if it is set, and if it is not)."""
    rng = random.Random(seed)
    ops = ["add", "xor", "mul.lo"]
    return [
        (
            [(rng.choice(ops), rng.randint(2, 4), rng.randint(1, 4), rng.randint(1, MASK) | 1)
             for _ in range(rng.randint(1, 3))],
            rng.randrange(8), rng.randint(0, BLOCKS), rng.randint(0, BLOCKS),
        )
        for _ in range(BLOCKS)
    ]  # fmt: skip


def as_ptx(program) -> str:
    text = f"{IDENTITY} mov.u32 %r2, %r8; mov.u32 %r3, 1; mov.u32 %r4, 7; mov.u32 %r5, {FUEL};"
    for number, (ops, bit, yes, no) in enumerate(program):
        kind = {"add": "u32", "xor": "b32", "mul.lo": "u32"}
        text += f"b{number}: setp.eq.u32 %p1, %r5, 0; @%p1 bra b{BLOCKS}; sub.u32 %r5, %r5, 1;"
        for op, to, source, constant in ops:
            text += f"{op}.{kind[op]} %r{to}, %r{source}, {constant};"
            text += f"xor.b32 %r2, %r2, %r{to};"
        text += f"shr.u32 %r6, %r2, {bit}; and.b32 %r6, %r6, 1; setp.ne.u32 %p2, %r6, 0;"
        text += f"@%p2 bra b{yes}; bra b{no};"
    return (
        f"{text} b{BLOCKS}: shfl.sync.bfly.b32 %r7, %r2, 1, 31, -1; add.u32 %r2, %r2, %r7; {STORE}"
    )


def one_lane(program, thread: int) -> int:
    r, fuel, block = {1: thread % THREADS, 2: thread, 3: 1, 4: 7}, FUEL, 0
    while block < BLOCKS and fuel:
        fuel -= 1
        ops, bit, yes, no = program[block]
        for op, to, source, constant in ops:
            r[to] = OPS[op](r[source], constant) & MASK
            r[2] ^= r[to] if to != 2 else r[2]
        block = yes if r[2] >> bit & 1 else no
    return r[2]


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_do_what_their_lanes_do(seed):
    program = random_program(seed)
    kernel = hand_written(as_ptx(program), "u64", warps=2)
    lanes = np.array([one_lane(program, t) for t in range(2 * THREADS)], np.uint32)
    wanted = lanes + lanes[np.arange(len(lanes)) ^ 1]
    for schedule in SCHEDULES if seed < 5 else ("lockstep", "random"):
        y = np.zeros(2 * THREADS, np.uint32)
        counters = kernel.run((2,), [y], schedule=schedule, seed=seed)
        assert np.array_equal(y, wanted), schedule
        assert not counters.report_counts
        assert counters.instructions["shfl.sync.bfly.b32"] == 4  # all had met again
        assert counters.instructions["ret"] == 4


def test_a_branch_is_counted_once_per_part():
    kernel = hand_written(
        f"""{IDENTITY} mov.u32 %r2, 5; setp.lt.u32 %p1, %r1, 40; @!%p1 bra low; add.u32 %r2, %r2, 1;
        bra.uni done; low: sub.u32 %r2, %r2, 1; done: {STORE}""", "u64", warps=2,
    )  # fmt: skip
    y = np.zeros(64, np.uint32)
    counters = kernel.run((1,), [y])
    assert np.array_equal(y, np.where(np.arange(64) < 40, 6, 4))
    assert counters.instructions["add.u32"] == 2  # warp 0, and 8 lanes of warp 1
    assert counters.instructions["sub.u32"] == 1
    assert counters.instructions["bra"] == 3
    assert counters.instructions["st.global.b32"] == 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("vote.sync.ballot.b32 %r2, 1, 0x0000ffff;", 0xFFFF), ("activemask.b32 %r2;", 0xFFFF),
        ("vote.sync.all.pred %p2, %p1, 0xffff; selp.u32 %r2, 8, 9, %p2;", 8),
        ("vote.sync.any.pred %p2, !%p1, 0xffff; selp.u32 %r2, 8, 9, %p2;", 9),
        ("elect.sync %r3|%p2, 0xffff; selp.u32 %r2, 8, 9, %p2;", None),
        ("mov.u32 %r3, 1; redux.sync.add.s32 %r2, %r3, 0xffff;", 16),
        ("shfl.sync.idx.b32 %r2, %r1, 3, 31, 0xffff;", 3),
        ("bar.warp.sync 0xffff; mov.u32 %r2, 4;", 4),
    ],
)  # fmt: skip
def test_half_a_warp_does_together_what_names_it(text, wanted):
    kernel = hand_written(
        f"""{IDENTITY} mov.u32 %r2, 77; setp.lt.u32 %p1, %r1, 16; @!%p1 bra done; {text}
        done: {STORE}""", "u64", header=".version 8.8 .target sm_90",
    )  # fmt: skip
    y = np.zeros(32, np.uint32)
    kernel.run((1,), [y])
    if wanted is None:
        assert y[0] == 8
        assert (y[1:16] == 9).all()
    else:
        assert (y[:16] == wanted).all()
    assert (y[16:] == 77).all()


@pytest.mark.parametrize(
    "text", ["bar.sync 0;", "shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;", "bar.warp.sync -1;"]
)
def test_who_waits_for_lanes_that_never_come_is_named(text):
    """The others wait at the end of the branch, go on, and end."""
    kernel = hand_written(
        f"{IDENTITY} setp.lt.u32 %p1, %r1, 16; @!%p1 bra done; {text} done: mov.u32 %r2, 1;", "u64"
    )
    with pytest.raises(EmulationError, match=r"warps 0 lanes 0-15 wait .* for lanes 16-31 "):
        kernel.run((1,), [np.zeros(32, np.uint32)])


def test_lanes_meet_at_a_barrier_that_each_reaches_by_another_way():
    """Nobody waits at the post-dominator for lanes that wait at a shuffle."""
    kernel = hand_written(
        f"""{IDENTITY} setp.lt.u32 %p1, %r1, 16; mov.u32 %r3, 5; @%p1 bra first; mov.u32 %r3, 6;
        first: shfl.sync.bfly.b32 %r2, %r3, 16, 31, -1; {STORE}""", "u64",
    )  # fmt: skip
    y = np.zeros(32, np.uint32)
    kernel.run((1,), [y])
    assert np.array_equal(y, np.where(np.arange(32) < 16, 6, 5))


def test_lanes_that_end_are_not_waited_for():
    """Barriers and shuffles do without them, a product of matrices does not."""
    body = f"""{IDENTITY} setp.ge.u32 %p1, %r1, 20; @%p1 ret; mov.u32 %r2, %r1; bar.sync 0;
        shfl.sync.bfly.b32 %r2, %r2, 1, 31, -1; {{}} {STORE}"""
    y = np.zeros(64, np.uint32)
    hand_written(body.format(""), "u64").run((1,), [y])
    assert np.array_equal(y[:20], np.arange(20) ^ 1)
    assert not y[20:].any()
    mma = """mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r10, %r11, %r12, %r13}, {%r3, %r4},
        {%r5}, {%r10, %r11, %r12, %r13};"""
    with pytest.raises(EmulationError, match=r"for lanes 20-31 .20-31 have ended. of their warps"):
        hand_written(body.replace("{}", mma), "u64").run((1,), [y])


@pytest.mark.parametrize("spin", ["atom.global.cas.b32 %r3, [%rd1], 0, 1;"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_lanes_of_a_warp_share_a_spin_lock(spin, schedule):
    """The lane that has it goes on without those that spin, which no stack of masks allows."""
    kernel = hand_written(
        f"""ld.param.u64 %rd1, [p0]; again: {spin} setp.ne.u32 %p1, %r3, 0; @%p1 bra again;
        ld.global.u32 %r4, [%rd1+4]; add.u32 %r4, %r4, 1; st.global.b32 [%rd1+4], %r4;
        atom.global.exch.b32 %r5, [%rd1], 0;""", "u64", warps=1,
    )  # fmt: skip
    y = np.zeros(2, np.uint32)
    kernel.run((2,), [y], schedule=schedule, strict=False)  # races until atomics order accesses
    assert y.tolist() == [0, 64]


def test_a_loop_of_compare_and_swap():
    """A float maximum, as code without that atomic writes it: each lane goes round till it wins."""
    kernel = hand_written(
        """ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; cvt.rn.f32.u32 %r2, %r1;
        ld.global.b32 %r3, [%rd1]; again: mov.b32 %r4, %r3; add.f32 %r5, %r4, %r2;
        atom.global.cas.b32 %r3, [%rd1], %r4, %r5; setp.ne.u32 %p1, %r3, %r4; @%p1 bra again;""",
        "u64", warps=2,
    )  # fmt: skip
    y = np.zeros(1, np.float32)
    kernel.run((1,), [y], strict=False)
    assert y[0] == sum(range(64))


def test_lanes_stay_apart_in_race_checks():
    """Lane 0 writes alone and the others read after they met: no barrier ordered that."""
    text = """mov.b32 %r3, buf; mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra met;
        st.shared.b32 [%r3], %r1; met: {} ld.shared.b32 %r2, [%r3];"""
    with pytest.raises(EmulationError, match="read of a write not ordered before it"):
        hand_written(text.format(""), shared=16).run((1,), [])
    hand_written(text.format("bar.warp.sync -1;"), shared=16).run((1,), [])


def test_copies_in_flight_pass_a_branch():
    text = f"""ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.b32 %r3, buf; shl.b32 %r4, %r1, 2;
        mov.u32 %r8, %r1; add.u32 %r3, %r3, %r4; mad.wide.u32 %rd2, %r1, 4, %rd1;
        cp.async.ca.shared.global [%r3], [%rd2], 4; cp.async.commit_group;
        setp.lt.u32 %p1, %r1, 9; mov.u32 %r5, 1; @%p1 bra met; {{}} mov.u32 %r5, 2;
        met: cp.async.wait_group 0; ld.shared.b32 %r2, [%r3]; add.u32 %r2, %r2, %r5; {STORE}"""
    y = np.arange(32, dtype=np.uint32)
    hand_written(text.format(""), "u64", shared=128).run((1,), [y])
    assert np.array_equal(y, np.arange(32) + np.where(np.arange(32) < 9, 1, 2))
    with pytest.raises(UnsupportedError, match=r"cp.async.wait_group 0 where lanes of a warp part"):
        hand_written(text.format("cp.async.wait_group 0;"), "u64", shared=128).run((1,), [y])


def test_a_table_of_branches():
    kernel = hand_written(
        f"""{IDENTITY} and.b32 %r3, %r1, 3; table: .branchtargets a, b, b, c;
        brx.idx %r3, table; a: mov.u32 %r2, 10; bra.uni done; b: mov.u32 %r2, 20; bra.uni done;
        c: mov.u32 %r2, 30; done: {STORE}""", "u64", warps=2,
    )  # fmt: skip
    y = np.zeros(64, np.uint32)
    counters = kernel.run((1,), [y])
    assert np.array_equal(y, np.tile([10, 20, 20, 30], 16))
    assert counters.instructions["st.global.b32"] == 2


def test_labels_of_inline_assembly_are_its_own():
    part = "{ .reg .pred q; setp.lt.u32 q, %r1, 7; @q bra L; add.u32 %r2, %r2, 1; L: }"
    kernel = hand_written(f"{IDENTITY} mov.u32 %r2, 0; {part} {part} {STORE}", "u64")
    y = np.zeros(32, np.uint32)
    kernel.run((1,), [y])
    assert np.array_equal(y, np.where(np.arange(32) < 7, 0, 2))
