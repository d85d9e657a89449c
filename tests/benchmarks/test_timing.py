from __future__ import annotations

import time

import pytest

from r2n_kernels.benchmarks.timing import Samples, interleave


def test_subjects_take_turns_and_all_samples_are_kept():
    calls: list[str] = []
    timed = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert "".join(calls) == "ababababab"
    assert [len(samples.seconds) for samples in timed.values()] == [3, 3]


def test_times_are_seconds_a_call():
    timed = interleave({"nap": lambda: time.sleep(0.02)}, rounds=3)
    assert 0.02 <= timed["nap"].median < 0.2


def test_speedup_pairs_rounds_so_that_drift_cancels():
    base = Samples("base", (1.0, 2.0, 4.0))  # a machine that slows down
    ours = Samples("ours", (0.5, 1.0, 2.0))
    assert ours.speedup_over(base) == 2.0
    with pytest.raises(ValueError, match="argument"):
        ours.speedup_over(Samples("short", (1.0,)))
