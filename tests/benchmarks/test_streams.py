from __future__ import annotations

import dataclasses
import threading
import time

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks import network
from r2n_kernels.benchmarks.network import SCOPES, Bench
from r2n_kernels.benchmarks.peers import PEERS, our_peer
from r2n_kernels.benchmarks.streams import flows, pour
from r2n_kernels.reference import Res2Net, randomize

OURS = our_peer("torch")


@pytest.fixture
def run(monkeypatch):
    """run(peers) -> flows of small networks, two streams of two threads."""
    monkeypatch.setattr(
        network, "eager_model", lambda name, family: randomize(Res2Net(network.TINY).eval(), 0)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def run(peers, streams=2):
        bench = Bench("res2net50_48w_2s", peers)
        return flows(bench, bench.material(2, 33, 40, SCOPES[0]), torch.float32, streams, 0.05)

    yield run
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def peer(name, build):
    return dataclasses.replace(PEERS["reference"], subject=name, build=build)


def test_every_instance_runs_and_is_checked(run):
    built = []

    def build(model, case):
        built.append(torch.get_num_threads())
        return model

    theirs, ours = run([peer("theirs", build), OURS])
    assert built == [1, 1]  # a thread each
    for flow in (theirs, ours):
        assert flow.verdict.passed
        assert flow.rate == 2 * len(flow.latencies) / flow.seconds
        assert len(flow.latencies) >= 2 * 4


def test_one_wrong_instance_has_no_times(run):
    scales = iter([1.0, 1.1])

    def build(model, case):
        scale = next(scales)
        return lambda x: model(x) * scale

    (flow,) = run([peer("second", build)])
    assert (flow.wrong, flow.latencies, flow.left_out) == (True, [], "wrong outputs")


def test_who_cannot_is_told(run):
    def build(model, case):
        raise RuntimeError("no")

    bad, good = run([peer("broken", build), OURS])
    assert (bad.left_out, bad.latencies) == ("failed: RuntimeError: no", [])
    assert good.latencies


def test_more_streams_than_threads(run):
    with pytest.raises(ConfigError, match="--streams 3: there are 2 threads"):
        run([OURS], streams=3)


def test_streams_are_side_by_side_and_end():
    both = threading.Barrier(2, timeout=10)
    took, latencies = pour([both.wait, lambda: both.wait() and time.sleep(0)], 0)
    assert (latencies, took < 5) == ([], True)

    def call():
        assert not torch.is_grad_enabled()
        both.wait()
        time.sleep(0.6)

    took, latencies = pour([call, call], 0.5)  # a busy machine starts a thread late
    assert len(latencies) == 2
    assert all(0.6 <= second <= took for second in latencies)


def test_a_call_that_raises_ends_all():
    def fail():
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        pour([fail, lambda: time.sleep(0.001)], 60)
