from __future__ import annotations

import dataclasses
import datetime

import pytest

from r2n_kernels.benchmarks.history import otava_csv, series_of
from r2n_kernels.errors import RecordError

from .runs import TIMM, runs

START = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)


def commits(record, seconds, peer=()):
    """A run a day, of a commit each."""
    for day, time in enumerate(seconds):
        when = (START + datetime.timedelta(days=day)).isoformat()
        beside = [peer[day]] if peer else []
        yield from runs(record, [time], beside, commit=f"{day:040x}", run=f"r{day}", time=when)


def test_a_slow_step_is_found_where_it_was_made(record):
    (series,) = series_of(list(commits(record, [0.1, 0.1001] * 8 + [0.11, 0.1101] * 4)))
    assert len(series.codes) == 24
    assert series.enough
    assert series.relative_to is None
    (change,) = series.changes()
    assert series.codes[change.index][0].commit == f"{16:040x}"
    assert series.changes(floor=0.2) == []


def test_a_slow_machine_is_none(record):
    wave = [0.1] * 10 + [0.15] * 10
    (series,) = series_of(list(commits(record, wave, [2 * s for s in wave])))
    assert series.relative_to == TIMM
    assert series.times == pytest.approx([0.5] * 20)
    assert series.changes() == []


def test_runs_of_a_commit_are_one_point(record):
    again = [*commits(record, [0.1, 0.2]), *commits(record, [0.4])]
    again[-1] = dataclasses.replace(again[-1], run="later")
    (series,) = series_of(again)
    assert len(series.codes) == 2
    assert series.times == pytest.approx([0.2, 0.2])  # the geometric mean
    dirty = [dataclasses.replace(r, dirty=True, run=f"d{i}") for i, r in enumerate(again)]
    assert len(series_of(dirty)[0].codes) == 3  # may be of other code each
    assert not series.enough


def test_an_upgrade_begins_a_new_series(record):
    old, new = list(commits(record, [0.1, 0.2])), list(commits(record, [0.3], [0.4]))
    new = [dataclasses.replace(r, versions={"python": "3.13"}) for r in new]
    assert [len(s.codes) for s in series_of([*old, *new])] == [2, 1]  # and none of the peer


def test_a_csv_for_otava(record):
    (series,) = series_of(list(commits(record, [0.1, 0.2])))
    assert otava_csv(series) == (
        "time,commit,seconds\n"
        f"2026-11-01T00:00:00+00:00,{0:040x},0.1\n"
        f"2026-11-02T00:00:00+00:00,{1:040x},0.2\n"
    )
    (beside,) = series_of(list(commits(record, [0.1], [0.4])))
    assert otava_csv(beside).endswith(
        f"time,commit,time_ratio\n2026-11-01T00:00:00+00:00,{0:040x},0.25\n"
    )


@pytest.mark.parametrize("time", ["yesterday", "0001-01-01T00:00:00+23:00"])
def test_a_time_that_is_none(record, time):
    with pytest.raises(RecordError, match=r"'time' of a record is not ISO 8601"):
        series_of([dataclasses.replace(record, time=time)])
