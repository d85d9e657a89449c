"""Orders that the code does not enforce, each found whatever order was run."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import ADVISORY, SCHEDULES, EmulationError

from .conftest import hand_written

HEAD = """ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.b32 %r3, buf;
mad.lo.s32 %r4, %r1, 4, %r3; xor.b32 %r5, %r1, 32; mad.lo.s32 %r5, %r5, 4, %r3;
shr.u32 %r6, %r1, 5; setp.eq.u32 %p1, %r6, 0; setp.ne.u32 %p2, %r6, 0;\n"""
EXCHANGE = "st.shared.b32 [%r4], %r1; {} ld.shared.b32 %r7, [%r5];"


def kernel_of(body: str, warps: int = 2):
    return hand_written(HEAD + body, "u64", shared=2048, warps=warps)


def verify(body: str, match: str | None, *, warps: int = 2, grid: int = 1, **options) -> None:
    """In every schedule: the error, or none."""
    kernel = kernel_of(body, warps)
    for schedule in SCHEDULES:
        x = np.zeros(4096, np.int32)
        if match is None:
            counters = kernel.run((grid,), [x], schedule=schedule, **options)
            assert not counters.report_counts, counters.reports
        else:
            with pytest.raises(EmulationError, match=match):
                kernel.run((grid,), [x], schedule=schedule, **options)


class TestBarriers:
    def test_a_barrier_orders(self):
        verify(EXCHANGE.format("bar.sync 0;"), None)

    def test_a_missing_barrier(self):
        # in some schedules it reads what nobody wrote yet
        verify(EXCHANGE.format(""), r"\[(race|uninitialised)\]")

    def test_a_missing_barrier_names_both_sides(self):
        kernel = kernel_of(EXCHANGE.format(""))
        match = (
            r"\[race\].*read of a write not ordered before it: byte 128 of shared memory.*last "
            r"written by warp 1 lane 0 in \? \(st\.shared\.b32.*warp 0, lane 0 \| ld\.shared"
        )
        with pytest.raises(EmulationError, match=match):
            kernel.run((1,), [np.zeros(1)])

    def test_writes_must_not_overtake_reads(self):
        body = EXCHANGE.format("bar.sync 0;") + "{} st.shared.b32 [%r4], %r7;"
        verify(body.format("bar.sync 0;"), None)
        verify(body.format(""), r"\[race\].*not ordered before it")
        kernel = kernel_of(body.format(""))
        with pytest.raises(EmulationError, match=r"write over a read .* \(of warps \[0, 1\]\)"):
            kernel.run((1,), [np.zeros(1)])

    def test_two_writes(self):
        body = "st.shared.b32 [%r3], {};"
        verify("@%p1 st.shared.b32 [%r3], 1; @%p2 st.shared.b32 [%r3], 2;",
               r"\[race\].*write over a write")  # fmt: skip
        verify(body.format("7"), None)  # the same value
        verify("@%p1 st.shared.b32 [%r3], 1; bar.sync 0; @%p2 st.shared.b32 [%r3], 2;", None)

    def test_lanes_of_one_store(self):
        verify("st.shared.b32 [%r3], %r1;", r"lanes of one store write different values to byte 0",
               warps=1)  # fmt: skip

    def test_lanes_of_one_warp_need_a_warp_barrier(self):
        body = "st.shared.b32 [%r4], %r1; {} xor.b32 %r5, %r1, 1; mad.lo.s32 %r5, %r5, 4, %r3;\n"
        body += "ld.shared.b32 %r7, [%r5];"
        verify(body.format("bar.warp.sync -1;"), None)
        verify(body.format(""), r"\[race\].*lane 0 \|")

    def test_another_barrier_does_not_order(self):
        # warps 0 and 1 at barrier 1, then 2 and 3: what crosses the pairs is not ordered
        body = """shr.u32 %r8, %r1, 6; add.s32 %r8, %r8, 1;
        st.shared.b32 [%r4], %r1; bar.sync %r8, 64; xor.b32 %r5, %r1, {0};
        mad.lo.s32 %r5, %r5, 4, %r3; ld.shared.b32 %r7, [%r5];"""
        verify(body.format(32), None, warps=4)
        verify(body.format(64), r"\[(race|uninitialised)\]", warps=4)

    def test_order_is_transitive(self):
        """0 -> 1 by one barrier, 1 -> 2 by the next: then 2 may read what 0 wrote."""
        body = """setp.lt.u32 %p3, %r6, 2; setp.gt.u32 %p4, %r6, 0; setp.eq.u32 %p5, %r6, 2;
        @%p1 st.shared.b32 [%r3], 5; @%p3 bar.sync 1, 64; {} @%p5 ld.shared.b32 %r7, [%r3];"""
        verify(body.format("@%p4 bar.sync 2, 64;"), None, warps=3)
        verify(body.format(""), r"\[(race|uninitialised)\]", warps=3)

    def test_global_memory_is_ordered_alike(self):
        body = """mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.b32 [%rd2], %r1; {}
        xor.b32 %r5, %r1, 32; mad.wide.u32 %rd2, %r5, 4, %rd1; ld.global.b32 %r7, [%rd2];"""
        verify(body.format("bar.sync 0;"), None)
        verify(body.format(""), r"\[race\].*of argument p0")

    def test_a_race_in_one_cta_of_many(self):
        """Only CTA 5 of 8 side by side leaves its barrier out."""
        body = "setp.ne.u32 %p3, %r2, 5; st.shared.b32 [%r4], %r1; @%p3 bar.sync 0;"
        kernel = kernel_of(body + "ld.shared.b32 %r7, [%r5];")
        for schedule in ("lockstep", "random"):
            counters = kernel.run((8,), [np.zeros(1)], schedule=schedule, strict=False)
            assert counters.reports
            assert {report.cta for report in counters.reports} == {(5, 0, 0)}


class TestCopies:
    COPY = "mad.wide.u32 %rd2, %r1, 16, %rd1; mad.lo.s32 %r8, %r1, 16, %r3;\n"
    COPY += "cp.async.cg.shared.global [%r8], [%rd2], 16; cp.async.commit_group;\n"
    READ = "ld.shared.v4.b32 {%r10, %r11, %r12, %r13}, [%r8];"

    def test_waited_for(self):
        verify(self.COPY + "cp.async.wait_group 0;" + self.READ, None)

    def test_not_waited_for(self):
        match = r"\[race\].*read of a write not ordered.*still in flight"
        verify(self.COPY + self.READ, match)
        verify(self.COPY + "cp.async.wait_group 1;" + self.READ, match)

    def test_other_warps_need_a_barrier_too(self):
        other = "xor.b32 %r8, %r8, 512;" + self.READ
        verify(self.COPY + "cp.async.wait_group 0; bar.sync 0;" + other, None)
        verify(self.COPY + "cp.async.wait_group 0;" + other, r"\[(race|uninitialised)\]")
        verify(
            self.COPY + "bar.sync 0; cp.async.wait_group 0;" + other, r"\[(race|uninitialised)\]"
        )

    def test_its_source_must_not_be_overwritten(self):
        store = "st.global.b32 [%rd2], 9;"
        verify(self.COPY + "cp.async.wait_group 0;" + store, None)
        verify(self.COPY + store, r"\[race\].*write over a read not ordered before it")

    def test_a_plain_read_does_not_hide_one_in_flight(self):
        store = "ld.global.b32 %r9, [%rd2]; st.global.b32 [%rd2], 9;"
        verify(self.COPY + store, r"\[race\].*write over a read not ordered before it")

    def test_two_in_flight_to_one_place(self):
        verify(self.COPY + self.COPY, r"\[race\].*write over a write.*still in flight")

    def test_lanes_without_a_source_get_zeros(self):
        body = self.COPY.split("cp.async")[0] + (
            "setp.lt.u32 %p3, %r1, 7; selp.b32 %r14, 16, 0, %p3;"
            "cp.async.cg.shared.global [%r8], [%rd2], 16, %r14; cp.async.wait_all;"
        )
        body += self.READ + "st.global.v4.b32 [%rd2], {%r10, %r11, %r12, %r13};"
        for schedule in SCHEDULES:
            x = np.arange(128, dtype=np.int32)
            kernel_of(body, 1).run((1,), [x], schedule=schedule)
            assert x.tolist() == [i if i < 28 else 0 for i in range(128)]


class TestCtas:
    MEET = "mad.wide.u32 %rd2, %r1, 4, %rd1; add.s32 %r9, %r2, 1;\n"

    @pytest.mark.parametrize("side_by_side", [1, 2])
    def test_two_write_one_place(self, side_by_side):
        kernel = kernel_of(self.MEET + "st.global.b32 [%rd2], %r9;")
        with pytest.raises(EmulationError, match=r"\[race\].*also written by CTA number"):
            kernel.run((2,), [np.zeros(64, np.int32)], side_by_side=side_by_side)

    @pytest.mark.parametrize("side_by_side", [1, 2])
    def test_one_value_at_one_place_is_advice(self, side_by_side):
        kernel = kernel_of(self.MEET + "st.global.b32 [%rd2], %r1;")
        counters = kernel.run((2,), [np.zeros(64, np.int32)], side_by_side=side_by_side)
        assert set(counters.report_counts) == {"cross-cta"}
        assert "with the same value" in counters.reports[0].text

    @pytest.mark.parametrize("side_by_side", [1, 2, 3])
    def test_one_writes_what_others_read(self, side_by_side):
        """CTA 0 writes, the others read; then the other way round, to catch either order."""
        for writer, did in ((0, "written"), (2, "(read|written)")):
            body = self.MEET + f"setp.eq.u32 %p3, %r2, {writer}; setp.ne.u32 %p4, %r2, {writer};"
            body += "@%p3 st.global.b32 [%rd2], 1; @%p4 ld.global.b32 %r10, [%rd2];"
            with pytest.raises(EmulationError, match=rf"\[race\].*{did} by"):
                kernel_of(body).run((3,), [np.zeros(64, np.int32)], side_by_side=side_by_side)

    def test_parts_and_shared_reads_are_fine(self):
        body = (
            self.MEET
            + """ld.global.b32 %r10, [%rd2+512]; mad.wide.u32 %rd2, %r2, 256, %rd2;
        st.global.b32 [%rd2+1024], %r10;"""
        )
        for side_by_side in (1, 2, 4):
            counters = kernel_of(body).run((4,), [np.zeros(1024, np.int32)],
                                           side_by_side=side_by_side)  # fmt: skip
            assert not counters.report_counts

    def test_advice_raises_nothing(self):
        assert ADVISORY == ("cross-cta", "mixed", "serialized")

    def test_a_race_within_one_is_seen_among_others(self):
        """All CTAs read the same places; one of them then writes, without a barrier of its own."""
        body = (
            self.MEET
            + """mad.wide.u32 %rd2, %r2, 256, %rd2; st.global.b32 [%rd2], %r1; {}
        xor.b32 %r5, %r1, 32; mad.wide.u32 %rd3, %r5, 4, %rd1; mad.wide.u32 %rd3, %r2, 256, %rd3;
        ld.global.b32 %r7, [%rd3];"""
        )
        verify(body.format("bar.sync 0;"), None, grid=4)
        verify(body.format(""), r"\[race\].*of argument p0", grid=4)


class TestDeadlocks:
    def test_a_barrier_that_some_never_reach(self):
        body = "@%p1 bar.sync 0; @%p2 bar.sync 1;"
        verify(body, r"deadlock: .*warps 0 wait in \? at barrier 0 \(@%p1 bar\.sync 0\)")

    def test_an_mbarrier_that_nobody_arrives_at(self):
        body = """setp.eq.u32 %p3, %r1, 0; @%p3 mbarrier.init.shared::cta.b64 [%r3], 1; bar.sync 0;
        mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r3], 0;"""
        verify(body, r"deadlock: .*warps [01-]+ wait in \? for the mbarrier.*\(mbarrier\.try_wait")

    def test_a_divergent_branch(self):
        part = "setp.lt.u32 %p3, %r1, 7; @%p3 bra out; {} out: mov.u32 %r9, 2;"
        verify(part.format("mov.u32 %r9, 1;"), None)
        verify(part.format("bar.sync 0;"), r"lanes 7-31 wait in \? for lanes 0-6 ")


class TestMbarriers:
    USE = """setp.eq.u32 %p3, %r1, 0; @%p3 mbarrier.init.shared::cta.b64 [%r3], 1; {0}
    @%p3 st.shared.b32 [%r3+64], 7; @%p3 mbarrier.arrive.shared::cta.b64 _, [%r3];
    {1} ld.shared.b32 %r9, [%r3+64]; {2} @%p3 mbarrier.inval.shared::cta.b64 [%r3];"""
    WAIT = "mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r3], 0;"

    def test_a_wait_orders(self):
        verify(self.USE.format("bar.sync 0;", self.WAIT, "bar.sync 0;"), None)

    def test_no_wait(self):
        verify(self.USE.format("bar.sync 0;", "", "bar.sync 0;"), r"\[(race|uninitialised)\]")

    def test_initialisation_is_ordered_before_use(self):
        verify(self.USE.format("", self.WAIT, "bar.sync 0;"), "race|not initialised|nobody wrote")

    def test_no_wait_after_its_end(self):
        verify(
            self.USE.format("bar.sync 0;", self.WAIT, ""), "race|not initialised|while warps wait"
        )

    def test_too_many_arrivals(self):
        body = "@%p1 mbarrier.init.shared::cta.b64 [%r3], 1;"
        match = r"mbarrier"
        verify("mbarrier.arrive.shared::cta.b64 _, [%r3];" + body, match, warps=1)


def test_what_is_recorded_goes_on():
    """strict=False: everything is noted, and the run ends as if nothing had been."""
    body = EXCHANGE.format("") + "mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.b32 [%rd2], %r7;"
    x = np.zeros(64, np.int32)
    counters = kernel_of(body).run((1,), [x], strict=False)
    assert (x == np.arange(64) ^ 32).all()
    assert counters.report_counts == {"race": 1}
    (report,) = counters.reports
    assert (report.cta, report.warp, report.lane) == ((0, 0, 0), 0, 0)
    assert report.instruction.startswith("ld.shared.b32")
    untracked = kernel_of(body).run((1,), [x], strict=False, track=False)
    assert not untracked.report_counts
