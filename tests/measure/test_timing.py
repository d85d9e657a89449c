from __future__ import annotations

import itertools
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest
import torch

from r2n_kernels.measure import timing
from r2n_kernels.measure.timing import Samples, captured, cpu_threads, interleave


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


class Gpu:
    """One that needs 4 ms for each call, and is waited for."""

    def __init__(self, monkeypatch):
        self.queue, self.log = 0, []
        monkeypatch.setattr(timing, "gpu_clock", self.clock)
        monkeypatch.setattr(timing, "current", lambda device: nullcontext())
        monkeypatch.setattr(torch.cuda, "synchronize", self.wait)

    def clock(self, call, seconds):
        def sample():
            self.log.append(f"events {seconds}")
            return (0.003, 0.003)

        return sample

    def wait(self):
        time.sleep(0.004 * self.queue)
        self.queue = 0

    def subject(self, name):
        def call():
            self.queue += 1
            self.log.append(name)
            time.sleep(0.001)

        return call


def test_both_clocks_of_a_gpu(monkeypatch):
    gpu, device = Gpu(monkeypatch), torch.device("cuda")
    subjects = {name: gpu.subject(name) for name in "ab"}
    timed = interleave(subjects, rounds=2, device=device, seconds=0.1, wall=True)
    turns = [name for name, _ in itertools.groupby(gpu.log[4:])]  # behind the warm-up
    assert turns == ["events 0.1", "a", "events 0.1", "b"] * 2
    for samples in timed.values():
        assert samples.rounds == ((0.003, 0.003),) * 2
        assert len(samples.wall) == len(samples.host) == 2
        for wall, host in zip(samples.wall, samples.host, strict=True):
            assert 1 <= len(wall) == len(host) <= 6  # a quarter of the seconds
            assert all(0.001 <= h < 0.004 + h <= w for w, h in zip(wall, host, strict=True))
    gpu.log.clear()
    timed = interleave(subjects, rounds=2, device=device, seconds=0.1)
    assert (timed["a"].wall, timed["a"].host) == ((), ())
    assert "events 0.1" in gpu.log


def test_a_long_call_is_waited_for_once(monkeypatch):
    gpu = Gpu(monkeypatch)
    wall, host = timing.wall_clock(gpu.subject("a"), 1e-6)
    assert len(wall) == len(host) == len(gpu.log) == 1


def test_on_the_cpu_there_is_one_clock():
    samples = interleave({"nap": nap(0.001)}, rounds=2, seconds=0.01, wall=True)["nap"]
    assert (len(samples.rounds), samples.wall, samples.host) == (2, (), ())


def test_the_timer_is_imported_in_silence():
    """torch warns where it finds a CUDA compiler and no GPU."""
    code = "from r2n_kernels.measure.timing import interleave; interleave({'a': int}, 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_times_are_those_of_events():
    device = torch.device("cuda")
    a = torch.randn(4096, 4096, device=device)
    timed = interleave({"product": lambda: a @ a}, rounds=3, device=device, seconds=0.05, wall=True)
    assert all(len(a_round) > 3 for a_round in timed["product"].rounds)
    assert 1e-4 < timed["product"].median < 1
    for rounds in (timed["product"].wall, timed["product"].host):
        assert len(rounds) == 3
        assert all(0 < second < 1 for a_round in rounds for second in a_round)
    graph = captured(lambda: a @ a)
    graph()
    torch.cuda.synchronize()


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="odd"), cpu_threads(2):
        raise ValueError("odd")
    assert torch.get_num_threads() == before


def test_threads_of_the_cpu_come_back():
    before = torch.get_num_threads()
    with cpu_threads(before + 1) as count:
        assert count == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with cpu_threads(None) as count:
        assert count == torch.get_num_threads() == before
