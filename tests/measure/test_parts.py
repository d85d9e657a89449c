from __future__ import annotations

from r2n_kernels.measure import parts
from r2n_kernels.measure.parts import Parts, now


def test_each_part_ends_where_the_next_begins(monkeypatch):
    times = iter([12.0, 12.5])
    monkeypatch.setattr(parts, "now", lambda: next(times))
    found = Parts(10.0)
    found.done("first")
    found.done("second")
    assert found.seconds == {"first": 2.0, "second": 0.5}


def test_the_clock_goes_on():
    before = now()
    assert before <= now() < before + 60
