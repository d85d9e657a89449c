from __future__ import annotations

import dataclasses
import re

import pytest

from r2n_kernels.benchmarks.compare import compare, missing


def test_runs_of_one_commit_count_together(record):
    """And how far they are apart is noise that no record knows alone."""
    one = dataclasses.replace(record, samples=((0.10,), (0.101,)) * 4, again=())
    two, new = (dataclasses.replace(one, samples=((s,),) * 8) for s in (0.11, 0.107))
    (alone,), _ = compare([one], [new])
    assert (alone.verdict, alone.runs, alone.floor) == ("regression", (1, 1), 0.01)
    (both,), _ = compare([one, two], [new])
    assert (both.verdict, both.runs) == ("same", (2, 1))
    assert both.floor == pytest.approx(0.11 / 0.1005 - 1)
    assert both.base.samples == one.samples + two.samples
    few = [dataclasses.replace(one, samples=one.samples[:4]) for _ in range(2)]
    assert compare(few, few)[0][0].runs == (2, 2)  # together enough rounds
    dirty = [dataclasses.replace(run, dirty=True) for run in (one, two)]
    assert compare(dirty, [new])[0][0].runs == (1, 1)  # may be of other code each
    unknown = [dataclasses.replace(run, commit=None) for run in (one, two)]
    assert compare(unknown, [new])[0][0].runs == (1, 1)
    other = dataclasses.replace(two, commit="1" * 40)
    (found,), _ = compare([one, other], [new])
    assert (found.base, found.runs) == (other, (1, 1))


def test_the_newest_code_of_a_thing_counts(record):
    slow = dataclasses.replace(record, samples=((0.2,),) * 20, again=())
    fast = dataclasses.replace(slow, samples=((0.1,),) * 20, kernels="1" * 16)
    (found,), unmatched = compare([slow, fast], [fast, slow])
    assert (found.base, found.new, unmatched) == (fast, slow, [])
    assert found.verdict == "regression"
    assert found.ratio == 2


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
    assert unmatched.record == new
    assert re.match(why, unmatched.why)


def test_too_few_rounds_tell_nothing(record):
    few = dataclasses.replace(record, samples=((0.1,),) * 6)
    found, (unmatched,) = compare([few], [few])
    assert found == []
    assert unmatched.why == "6 rounds, at least 7 are needed to tell anything"
    slow = dataclasses.replace(record, samples=tuple((0.2 + i / 100,) for i in range(7)), again=())
    fast = dataclasses.replace(slow, samples=tuple((0.1 + i / 100,) for i in range(7)))
    assert compare([fast], [slow])[0][0].verdict == "regression"


def test_the_same_machine_is_the_partner(record):
    """In a file with the history of several."""
    full = dataclasses.replace(record, samples=((0.1,),) * 9, again=())
    other = dataclasses.replace(full, machine={**full.machine, "cpu": "another"})
    (found,), unmatched = compare([full, other], [full])
    assert (found.base, unmatched) == (full, [])


def test_what_is_missing(record):
    step = dataclasses.replace(record, scope="step", step="fc")
    assert missing([record, step, record], [record]) == [step]
