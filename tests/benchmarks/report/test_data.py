from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.report import data
from r2n_kernels.benchmarks.report.data import history, slots
from r2n_kernels.benchmarks.runs import grouped
from r2n_kernels.errors import ConfigError, RecordError

from .samples import PEAK, history_of, timed


def replaced(record, **changes):
    return dataclasses.replace(record, **changes)


class TestGrouping:
    def test_a_setting_is_all_but_subject_and_batch(self, record):
        same = [record, replaced(record, subject="timm"), replaced(record, batch=1)]
        other = [
            replaced(record, model="m"), replaced(record, dtype="float16"),
            replaced(record, width=225), replaced(record, scope="preprocessing and model"),
            replaced(record, machine={**record.machine, "threads": 3}),
        ]  # fmt: skip
        found = grouped([*same, *other], data.setting)
        assert [len(records) for records in found.values()] == [3, 1, 1, 1, 1, 1]

    def test_newest_by_time_not_by_place(self, record):
        old, new = timed(record, 0.1, day=1), timed(record, 0.2, day=2)
        assert data.newest([new, old]) == [new]

    def test_newest_of_one_second_is_the_last(self, record):
        first, last = timed(record, 0.1), timed(record, 0.2)
        assert data.newest([first, last]) == [last]

    def test_times_of_other_zones(self, record):
        early = replaced(record, time="2026-11-25T01:00:00+02:00")
        late = replaced(record, time="2026-11-25T00:30:00Z")
        assert data.newest([late, early]) == [late]

    def test_a_time_that_is_none(self, record):
        with pytest.raises(RecordError, match="not ISO 8601: 'yesterday'"):
            data.moment(replaced(record, time="yesterday"))

    def test_a_step_has_its_scope_or_its_name(self, record):
        assert not data.is_step(record)
        assert data.is_step(replaced(record, scope="step"))
        assert data.is_step(replaced(record, step="conv1"))


class TestNumbers:
    def test_of_a_record(self, record):
        record = replaced(
            record, samples=((0.1, 0.3), (0.4,), (0.8,)), peak=PEAK, bytes=10**9, macs=4 * 10**9
        )
        assert data.rate(record) == 20  # the rounds' medians are 0.2, 0.4, 0.8
        assert data.flops(record) == 2e10
        assert data.intensity(record) == 8
        assert data.peak_share(record) == 0.1

    def test_what_is_not_stated(self, record):
        assert data.intensity(record) is None
        assert data.peak_share(record) is None

    @pytest.mark.parametrize(
        "peak", [{}, {"flops": None}, {"flops": "1e12"}, {"flops": True}, {"flops": 0}], ids=str
    )
    def test_a_peak_that_is_none(self, record, peak):
        assert data.peak(replaced(record, peak=peak)) is None

    def test_a_peak_without_bandwidth(self, record):
        peak = data.peak(replaced(record, peak={"flops": 1e12, "bandwidth": None}))
        assert peak == (1e12, None, "source unknown")

    def test_worst_parity(self, record):
        near = replaced(record, parity={"passed": True, "error": 9e-4, "limit": 1e-3})
        silent = replaced(record, parity={"passed": True})
        assert data.worst_parity([record, near, silent]) is near
        assert data.worst_parity([silent]) is None


class TestHistory:
    def test_a_regression_and_an_improvement(self, record):
        records = history_of(record, [0.1, 0.1, 0.12, 0.09], runs=5)
        past = history(records)
        assert [len(run) for run in past.runs] == [20]
        verdicts = [c.verdict for c in past.judged.values()]
        assert verdicts == ["same", "regression", "improvement"]
        assert past.changes == [records[19], records[14]]
        assert [past.count(v) for v in ("regression", "improvement", "same")] == [1, 1, 1]
        assert past.change_to(records[14]).ratio == pytest.approx(1.2)
        assert past.change_to(records[0]) is None

    def test_only_of_one_thing_on_one_machine(self, record):
        other = timed(record, 0.2, 1, machine={"cpu": "another"})
        past = history([timed(record, 0.1), other, timed(record, 0.3, 2, batch=1)])
        assert (past.runs, past.judged, past.unjudged) == ((), {}, 0)

    def test_too_few_runs(self, record):
        past = history([timed(record, 0.2), timed(record, 0.1, 1, commit="b" * 40)])
        assert (len(past.runs), past.changes, past.unjudged) == (1, [], 1)

    def test_runs_of_one_commit_are_one(self, record):
        """As in r2n compare: their spread is noise."""
        first, second = (timed(record, s, i, commit="a" * 40) for i, s in enumerate((0.1, 0.113)))
        new = timed(record, 0.108, 2, commit="b" * 40)
        past = history([first, second, new])
        assert [c.verdict for c in past.judged.values()] == ["unclear"]
        assert past.change_to(new).runs == (2, 1)
        assert past.change_to(second) is None

    def test_without_scipy(self, record, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "scipy.stats", None)
        with pytest.raises(ConfigError, match="pip install"):
            history(history_of(record, [0.1, 0.1]))

    def test_slots(self, record):
        a, b = timed(record, 0.1, 0), timed(record, 0.1, 0, subject="timm")
        again = timed(record, 0.1, 1)  # the same commit, measured once more
        changed = timed(record, 0.1, 2, dirty=True)
        assert slots([changed, a, b, again]) == [[a, b], [again], [changed]]
