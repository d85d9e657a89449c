from __future__ import annotations

import dataclasses
import re

import pytest

from r2n_kernels.benchmarks.compare import compare, missing

from .runs import NEW, runs

STEADY = [0.1, 0.1001, 0.1002, 0.0999, 0.1]
SLOW = [s * 1.1 for s in STEADY]


def test_runs_of_one_code_count_together(record):
    base, new = runs(record, STEADY), runs(record, SLOW, commit=NEW)
    (found,), unmatched = compare(base, new)
    assert (found.verdict, found.runs, unmatched) == ("regression", (5, 5), [])
    assert len(found.base.samples) == 15
    back = compare(new, base)[0][0]
    assert (back.verdict, back.ratio) == ("improvement", pytest.approx(1 / 1.1))
    assert compare(base, base)[0][0].verdict == "A/A"
    dirty = [dataclasses.replace(run, dirty=True) for run in new]
    assert compare(base, dirty)[0][0].runs == (5, 1)  # may be of other code each
    known = [dataclasses.replace(run, code="ab") for run in dirty]
    assert compare(base, known)[0][0].runs == (5, 5)


def test_the_newest_code_of_a_thing_counts(record):
    fast, slow = runs(record, STEADY), runs(record, SLOW, commit=NEW)
    (found,), _ = compare([*slow, *fast], [*fast, *slow])
    assert (found.base.commit, found.new.commit) == (fast[0].commit, NEW)
    assert found.verdict == "regression"


def test_a_history_tells_the_noise(record):
    base, new = runs(record, STEADY[:2]), runs(record, SLOW[:2], commit=NEW)
    assert compare(base, new)[0][0].verdict == "unclear"
    history = [*runs(record, STEADY, commit="c" * 40), *runs(record, SLOW, commit="d" * 40)]
    assert compare(base, new, history=history)[0][0].verdict == "regression"


def test_an_upgraded_subject_is_not_comparable(record):
    base = runs(record, STEADY)
    new = runs(record, SLOW, commit=NEW, versions={"torch": "2", "python": "3.13"})
    found, (unmatched,) = compare(base, new)
    assert found == []
    assert unmatched.why == "runs on other versions (python: None and 3.13)"
    before = runs(record, STEADY, commit="c" * 40, versions=new[0].versions)
    (found,), _ = compare([*before, *base], new)  # the newest that is comparable
    assert (found.base.commit, found.verdict) == ("c" * 40, "regression")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dtype": "bfloat16"}, "dtype: float32 and bfloat16"),
        ({"scope": "preprocessing and model"}, "scope: model and preprocessing and model"),
        ({"batch": 4, "layout": "nchw"}, "layout: channels_last and nchw, batch: 8 and 4"),
        ({"machine": {"cpu": "other", "threads": 2}}, r"another machine \(cpu: a chip and other"),
        ({"labels": {"runner": "b"}}, r"another machine \(labels: none and runner=b\)"),
    ],
)
def test_what_does_not_match_says_so(changes, why, record):
    new = dataclasses.replace(record, **changes)
    found, (unmatched,) = compare([record], [new])
    assert found == []
    assert unmatched.record.subject == new.subject
    assert re.match(why, unmatched.why)


def test_the_same_machine_is_the_partner(record):
    """In a file with the history of several."""
    other = dataclasses.replace(record, machine={**record.machine, "cpu": "another"})
    (found,), unmatched = compare([record, other], [record])
    assert (found.base.machine, unmatched) == (record.machine, [])


def test_what_is_missing(record):
    step = dataclasses.replace(record, scope="step", step="fc")
    assert missing([record, step, record], [record]) == [step]
