"""What CTAs learn of each other through acquire and release, and that nothing else orders them."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import SCHEDULES, EmulationError

from .conftest import hand_written

HEAD = """ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;
mov.u32 %r3, %nctaid.x; sub.s32 %r3, %r3, 1; setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r2, 0;
mad.wide.u32 %rd3, %r2, 256, %rd2; mad.wide.u32 %rd4, %r1, 4, %rd3; mov.b32 %r6, buf;
xor.b32 %r7, %r1, 32; mad.wide.u32 %rd6, %r7, 4, %rd2;\n"""
# all write what is theirs; the last CTA to count itself reads what the first one wrote
COUNT = """st.global.b32 [%rd4], %r1; {before}
@%p1 {count} %r4, [%rd1], 1; {after} @%p1 st.shared.b32 [%r6], %r4; bar.sync 0;
ld.shared.b32 %r4, [%r6]; setp.ne.u32 %p3, %r4, %r3; @%p3 bra done;
ld.global.b32 %r5, [%rd6]; done:"""
# the first CTA leaves a value and a flag; the others look at the flag, then at the value
FLAG = """and.pred %p4, %p1, %p2; not.pred %p5, %p2; @%p4 st.global.b32 [%rd2], 7; {first}
@%p5 {look}, [%rd1]; {then} @!%p2 ld.global.b32 %r5, [%rd2];"""


def run(body: str, grid: int = 4, **options):
    kernel = hand_written(HEAD + body, "u64 u64", shared=16, warps=2)
    args = [np.zeros(4, np.int32), np.zeros(64 * grid, np.int32)]
    return kernel.run((grid,), args, **options)


def verify(body: str, match: str | None, side_by_side: tuple = (1, 3)) -> None:
    for schedule in SCHEDULES:
        for together in side_by_side:
            options = {"schedule": schedule, "side_by_side": together, "seed": together}
            if match is None:
                assert not run(body, **options).report_counts, (schedule, together)
            else:
                with pytest.raises(EmulationError, match=match):
                    run(body, **options)


def count(atom: str, before: str = "bar.sync 0;", after: str = "") -> str:
    return COUNT.format(count=atom, before=before, after=after)


NOT_ORDERED = r"\[race\].*read of byte \d+ of argument p1 .*also written by CTA number 0"


@pytest.mark.parametrize(
    "body",
    [
        count("atom.global.gpu.acq_rel.add.u32"),
        count("atom.acq_rel.sys.global.add.u32"),
        count("atom.relaxed.gpu.global.add.u32", "bar.sync 0; fence.acq_rel.gpu;",
              "fence.acq_rel.gpu;"),
        count("atom.global.add.u32", "bar.sync 0; membar.gl;", "membar.gl;"),
        count("atom.global.add.u32", "fence.sc.sys; bar.sync 0;", "bar.sync 0; fence.sc.gpu;"),
        count("atom.release.gpu.global.add.u32", after="fence.acq_rel.gpu;"),
    ],
)  # fmt: skip
def test_the_last_block_may_read_what_all_wrote(body):
    verify(body, None)


@pytest.mark.parametrize(
    "body",
    [
        count("atom.global.add.u32"),
        count("atom.global.gpu.relaxed.add.u32"),
        count("atom.global.gpu.release.add.u32"),
        count("atom.global.gpu.acquire.add.u32"),
        count("atom.global.gpu.acq_rel.add.u32", before=""),  # of other warps
        count("atom.relaxed.gpu.global.add.u32", "bar.sync 0; fence.acq_rel.gpu;"),
        count("atom.relaxed.gpu.global.add.u32", after="fence.acq_rel.gpu;"),
        count("atom.relaxed.gpu.global.add.u32", "bar.sync 0; fence.acq_rel.cta;",
              "fence.acq_rel.cta;"),
    ],
)  # fmt: skip
def test_half_an_order_is_none(body):
    verify(body, NOT_ORDERED)


def test_an_atomic_of_scope_cta_is_none_for_others():
    verify(count("atom.global.cta.acq_rel.add.u32"), r"\[race\].*scope cta meets one of another")


RELEASE = "@%p4 st.release.gpu.global.b32 [%rd1], 1;"


@pytest.mark.parametrize(
    ("first", "look", "then", "match"),
    [
        (RELEASE, "ld.acquire.gpu.global.b32 %r4", "bar.sync 0;", None),
        ("fence.acq_rel.gpu; @%p4 st.relaxed.gpu.global.b32 [%rd1], 1;",
         "ld.volatile.global.b32 %r4", "fence.acq_rel.gpu; bar.sync 0;", None),
        # a relaxed atomic goes on with the release before it, a store does not
        (RELEASE + "@%p4 atom.global.add.u32 %r9, [%rd1], 1;",
         "ld.acquire.gpu.global.b32 %r4", "bar.sync 0;", None),
        (RELEASE + "@%p4 st.relaxed.gpu.global.b32 [%rd1], 2;", "ld.acquire.gpu.global.b32 %r4",
         "bar.sync 0;", r"\[race\]"),
        (RELEASE, "ld.relaxed.gpu.global.b32 %r4", "bar.sync 0;", r"\[race\].*of argument p1"),
        (RELEASE, "ld.global.b32 %r4", "bar.sync 0;", r"\[race\].*of argument p0"),
        ("@%p4 st.global.b32 [%rd1], 1;", "ld.acquire.gpu.global.b32 %r4", "bar.sync 0;",
         r"\[race\].*of argument p0"),
        # what follows a release is not released
        (RELEASE + "@%p4 st.global.b32 [%rd2], 8;", "ld.acquire.gpu.global.b32 %r4",
         "bar.sync 0;", r"\[race\].*of argument p1"),
    ],
)  # fmt: skip
def test_a_flag(first, look, then, match):
    """CTAs run one after the other: the flag is set when it is looked at."""
    verify(FLAG.format(first=first, look=look, then=then), match, side_by_side=(1,))


def test_a_lock_hands_on_what_it_guards():
    """Every CTA adds to a sum and to its own count of visits, which the next one reads."""
    body = """bar.sync 0; @%p1 atom.global.{lock}.cas.b32 %r4, [%rd1], 0, 1; bar.sync 0;
    ld.global.b32 %r5, [%rd2]; bar.sync 0; add.s32 %r5, %r5, 1; @%p1 st.global.b32 [%rd2], %r5;
    bar.sync 0; @%p1 atom.global.{free}.exch.b32 %r4, [%rd1], 0;"""
    verify(body.format(lock="acq_rel.gpu", free="acq_rel.gpu"), None, (1,))
    verify(body.format(lock="acquire.gpu", free="release.gpu"), None, (1,))
    verify(body.format(lock="acquire.gpu", free="relaxed.gpu"), r"\[race\].*also written", (1,))
    verify(body.format(lock="relaxed.gpu", free="release.gpu"), r"\[race\].*also written", (1,))
    without = body.replace("bar.sync 0; @%p1 atom.global.{free}", "@%p1 atom.global.{free}")
    verify(without.format(lock="acq_rel.gpu", free="acq_rel.gpu"), None, (1,))  # warp 0 alone wrote


def test_all_read_before_one_writes():
    """A grid barrier: many read, count themselves, and the last one overwrites it."""
    body = """ld.global.b32 %r5, [%rd2+4]; {} @%p1 atom.global.gpu.acq_rel.add.u32 %r4, [%rd1], 1;
    setp.eq.u32 %p3, %r4, %r3; and.pred %p3, %p3, %p1; @%p3 st.global.b32 [%rd2+4], 1;"""
    verify(body.format("bar.sync 0;"), None)
    verify(body.format(""), r"\[race\].*write of byte 4 of argument p1|write over a read")


class TestAtomics:
    def test_a_plain_store_of_another_cta(self):
        body = "@%p2 st.global.b32 [%rd1], 5; not.pred %p5, %p2; @%p5 red.global.add.u32 [%rd1], 1;"
        verify(body, r"\[race\].*(atomic|written)", (1, 4))

    def test_a_plain_read_of_another_cta(self):
        body = "@%p1 red.global.add.u32 [%rd1], 1; @!%p2 ld.global.b32 %r4, [%rd1];"
        verify(body, r"\[race\].*read of byte 0 of argument p0.*changed atomically by", (1,))

    def test_a_store_within_a_cta(self):
        body = "setp.eq.u32 %p3, %r1, 32; @%p3 st.global.b32 [%rd3], 5; {}"
        body += "@%p1 red.global.add.u32 [%rd3], 1;"
        verify(body.format("bar.sync 0;"), None)
        verify(body.format(""), r"\[race\].*(atomic access to a write|write over an? atomic)")

    def test_a_read_of_another_warp_is_advice(self):
        """Triton's tutorial on layer norm does it: the branch that follows is the same for all."""
        body = "ld.global.b32 %r4, [%rd3]; {} @%p1 atom.global.exch.b32 %r5, [%rd3], 1;"
        verify(body.format("bar.sync 0;"), None)
        for schedule in SCHEDULES:
            assert set(run(body.format(""), schedule=schedule).report_counts) == {"mixed"}

    def test_a_failed_swap_writes_nothing(self):
        body = "@%p1 atom.global.cas.b32 %r4, [%rd1], 9, 1; bar.sync 0; ld.global.b32 %r5, [%rd1];"
        verify(body, None)
        verify(body.replace("9, 1", "0, 1"), r"\[race\]")

    def test_among_themselves_they_never_race(self):
        verify("red.global.add.u32 [%rd1], 1; atom.global.max.u32 %r4, [%rd1], 7;", None)
