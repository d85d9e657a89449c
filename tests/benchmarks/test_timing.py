from __future__ import annotations

import itertools
import subprocess
import sys
import time

import pytest
import torch

from r2n_kernels.benchmarks.timing import Samples, captured, interleave


def nap(seconds):
    return lambda: time.sleep(seconds)


def test_subjects_take_turns_and_all_samples_are_kept():
    calls: list[str] = []

    def subject(name):
        def call():
            calls.append(name)
            time.sleep(0.01)

        return call

    timed = interleave({"a": subject("a"), "b": subject("b")}, rounds=3, seconds=0.02)
    turns = "".join(name for name, _ in itertools.groupby(calls))
    assert turns == "ababababab"  # two calls each to warm up, then three rounds
    assert [len(samples.rounds) for samples in timed.values()] == [3, 3]
    assert all(len(a_round) >= 1 for s in timed.values() for a_round in s.rounds)


def test_times_are_seconds_a_call():
    timed = interleave({"nap": nap(0.02)}, rounds=3, seconds=0.05)
    assert 0.02 <= timed["nap"].median < 0.2
    assert all(len(a_round) >= 1 for a_round in timed["nap"].rounds)


def test_short_calls_are_timed_in_blocks():
    timed = interleave({"add": lambda: 1 + 1}, rounds=2, seconds=0.01)
    assert 0 < timed["add"].median < 1e-4


def test_speedup_pairs_rounds_so_that_drift_cancels():
    base = Samples("base", ((1.0,), (2.0, 2.0), (4.0,)))  # a machine that slows down
    ours = Samples("ours", ((0.5,), (1.0,), (2.0, 2.0, 2.0)))
    assert ours.speedup_over(base) == 2.0
    assert (base.median, base.medians) == (2.0, (1.0, 2.0, 4.0))
    with pytest.raises(ValueError, match="argument"):
        ours.speedup_over(Samples("short", ((1.0,),)))


def test_the_timer_is_imported_in_silence():
    """torch warns where it finds a CUDA compiler and no GPU."""
    code = "from r2n_kernels.benchmarks.timing import interleave; interleave({'a': int}, 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_times_are_those_of_events():
    device = torch.device("cuda")
    a = torch.randn(4096, 4096, device=device)
    timed = interleave({"product": lambda: a @ a}, rounds=3, device=device, seconds=0.05)
    assert all(len(a_round) > 3 for a_round in timed["product"].rounds)
    assert 1e-4 < timed["product"].median < 1
    graph = captured(lambda: a @ a)
    graph()
    torch.cuda.synchronize()
