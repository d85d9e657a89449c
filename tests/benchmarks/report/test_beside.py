from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.report.beside import bars, sides, speedup, speedups

from .samples import steps_of, timed

TIMM = "timm eager, channels_last"


def pair(record, ours: float, peer: float, day: int = 0):
    """Both of one run."""
    commit = f"{day:x}" * 40
    return [
        timed(record, peer, day, subject=TIMM, commit=commit),
        timed(record, ours, day, commit=commit),
    ]


def test_a_slow_machine_cancels(record):
    records = [*pair(record, 0.1, 0.2), *pair(record, 0.3, 0.6, day=1)]
    (beside,) = sides([*records, *steps_of(record)])
    assert [len(slot) for slot in beside.slots] == [2, 2]
    over = speedups([beside])
    assert [over[id(r)] for r in records] == pytest.approx([1, 2, 1, 2])


def test_round_by_round(record):
    base = dataclasses.replace(record, samples=((1.0,), (4.0,), (9.0,)))
    ours = dataclasses.replace(record, samples=((1.0,), (2.0,), (3.0,)))
    assert speedup(ours, base) == 2
    assert speedup(dataclasses.replace(ours, samples=((2.0,),)), base) == 2


def test_the_peer_is_timm_else_the_first(record):
    other = timed(record, 0.05, subject="OpenVINO")
    (beside,) = sides([other, *pair(record, 0.1, 0.2)])
    assert beside.peer[0] == TIMM
    (alone,) = sides([timed(record, 0.1), other])
    assert alone.peer[0] == "OpenVINO"
    (none,) = sides([record])
    assert none.peer is None


def test_bars_are_of_the_newest_run_that_has_both(record):
    alone = timed(record, 0.01, 2, commit="c" * 40)
    (beside,) = sides([*pair(record, 0.1, 0.2), *pair(record, 0.1, 0.3, day=1), alone])
    first, second = bars(beside)
    assert (first.ours, first.share, first.over) == (True, 1, pytest.approx(3))
    assert (second.ours, second.share, second.over) == (False, pytest.approx(1 / 3), 1)
