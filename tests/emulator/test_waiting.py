"""Programs that wait for each other: they end, or are told apart from those that never do."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .conftest import hand_written

CTA = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; mov.u32 %r9, %tid.x;"
# program i waits for a flag of value i + 1 and sets it to i, or the other way round
CHAIN = """mad.wide.u32 %rd2, %r1, 4, %rd1; mov.u32 %r5, 0; setp.eq.u32 %p9, %r9, 0;
again: ld.{load}global.u32 %r3, [%rd1]; setp.ne.u32 %p1, %r3, {before}; @%p1 bra again;
bar.sync 0; @%p9 st.global.u32 [%rd1], {after}; @%p9 st.global.u32 [%rd2+4], %r3;"""


@pytest.mark.parametrize("load", ["volatile.", "acquire.gpu.", ""])
@pytest.mark.parametrize("side_by_side", [None, 3, 1])
@pytest.mark.parametrize("order", ["up", "down"])
def test_each_program_waits_for_another(load, side_by_side, order):
    """Also for those that come later: they begin when all that run only wait."""
    before, after = ("%r1", "%r6") if order == "up" else ("%r6", "%r7")
    body = CTA + "add.u32 %r6, %r1, 1; sub.u32 %r7, %r2, %r1;"
    if order == "down":  # program n - 1 first
        body += "sub.u32 %r6, %r7, 1;"
    kernel = hand_written(body + CHAIN.format(load=load, before=before, after=after), "u64")
    for schedule in SCHEDULES if load == "volatile." else ("lockstep",):
        y = np.zeros(9, np.uint32)
        kernel.run((8,), [y], schedule=schedule, side_by_side=side_by_side, strict=False)
        turns = np.arange(8)
        assert np.array_equal(y, [8, *(turns if order == "up" else turns[::-1])])


def test_a_flag_that_nobody_sets_is_named():
    body = CTA + CHAIN.format(load="volatile.", before="9", after="0")
    with pytest.raises(
        EmulationError,
        match=r"all wait for ever: CTAs \(0, 0, 0\) to \(2, 0, 0\) warps 0 poll byte 0 of argument"
        r" p0 \(36 bytes\).* in \? \(ld.volatile.global.u32",
    ):
        hand_written(body, "u64").run((3,), [np.zeros(9, np.uint32)], strict=False)


def test_a_program_that_never_ends_meets_the_limit():
    body = "again: add.u32 %r1, %r1, 1; bra.uni again;"
    with pytest.raises(
        EmulationError, match=r"over max_steps=50,000: CTA \(0, 0, 0\) warps 0-1 are"
    ):
        hand_written(body, warps=2).run((1,), [], max_steps=50_000)


def test_a_deadlock_says_who_waits_and_for_whom():
    kernel = hand_written(
        """mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 96; @%p1 ret;
        setp.ge.u32 %p2, %r1, 64; @%p2 bra other; bar.sync 1, 96; bra.uni done;
        other: bar.sync 2, 96; done:""", warps=4,
    )  # fmt: skip
    with pytest.raises(EmulationError) as caught:
        kernel.run((1,), [])
    text = str(caught.value)
    assert "warps 0-1 wait in ? at barrier 1 (bar.sync 1, 96)" in text
    assert "warps 2 wait in ? at barrier 2 (bar.sync 2, 96); warps 3 have ended" in text


def test_an_mbarrier_that_lacks_arrivals_says_so():
    kernel = hand_written(
        """mov.b32 %r1, buf; mov.u32 %r2, %tid.x; setp.eq.u32 %p1, %r2, 0;
        @%p1 mbarrier.init.shared.b64 [%r1+8], 2; bar.sync 0;
        @%p1 mbarrier.arrive.shared.b64 _, [%r1+8];
        again: mbarrier.try_wait.parity.shared.b64 %p2, [%r1+8], 0; @!%p2 bra again;""", shared=16,
    )  # fmt: skip
    message = r"for the mbarrier at byte 8 of shared memory, 1 of 2 arrivals missing in phase 0"
    with pytest.raises(EmulationError, match=message):
        kernel.run((1,), [])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_counter_deals_out_work(schedule):
    """Persistent programs take the next tile until there are none; more programs than at once."""
    kernel = hand_written(
        CTA + """mov.b32 %r8, buf; setp.eq.u32 %p1, %r9, 0;
        again: @%p1 atom.global.add.u32 %r3, [%rd1], 1; @%p1 st.shared.u32 [%r8], %r3; bar.sync 0;
        ld.shared.u32 %r4, [%r8]; bar.sync 0; setp.ge.u32 %p2, %r4, 20; @%p2 bra done;
        mad.wide.u32 %rd2, %r4, 4, %rd1; @%p1 atom.global.add.u32 %r5, [%rd2+4], 1; bra.uni again;
        done:""", "u64", warps=2, shared=16,
    )  # fmt: skip
    y = np.zeros(21, np.uint32)
    kernel.run((6,), [y], schedule=schedule, side_by_side=2)
    assert y.tolist() == [26, *[1] * 20]
