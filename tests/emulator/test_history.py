"""Who read a place, of several CTAs, while there is memory to keep it."""

from __future__ import annotations

import pytest

from r2n_kernels.emulator import EmulationError, history

from .test_clocks import run

# every CTA reads all that others read; the last to count itself overwrites it
MANY = """ld.global.b32 %r5, [%rd6]; mad.wide.u32 %rd7, %r1, 4, %rd2; ld.global.b32 %r5, [%rd7];
{} @%p1 atom.global.gpu.acq_rel.add.u32 %r4, [%rd1], 1; @%p1 st.shared.b32 [%r6], %r4; bar.sync 0;
ld.shared.b32 %r4, [%r6]; setp.eq.u32 %p3, %r4, %r3; @%p3 st.global.b32 [%rd7], 1;"""


@pytest.mark.parametrize("side_by_side", [1, 5])
def test_every_reader_counts(side_by_side):
    assert not run(MANY.format("bar.sync 0;"), 5, side_by_side=side_by_side).report_counts
    with pytest.raises(EmulationError, match=r"\[race\].*also read by several CTAs"):
        run(MANY.format(""), 5, side_by_side=side_by_side)


def test_what_does_not_fit_is_not_checked(monkeypatch):
    monkeypatch.setattr(history, "KEPT_BYTES", 0)
    for body in (MANY.format("bar.sync 0;"), MANY.format("")):
        counters = run(body, 5, side_by_side=1, strict=False)
        assert not any("also read by" in report.text for report in counters.reports)


def test_who_synchronises_with_nobody_needs_none_of_it(monkeypatch):
    monkeypatch.setattr(history, "KEPT_BYTES", 0)
    with pytest.raises(EmulationError, match=r"\[race\].*also read by several CTAs"):
        run(MANY.format("").replace(".gpu.acq_rel", ""), 5, side_by_side=1)
