from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.benchmarks import network, outputs
from r2n_kernels.benchmarks.network import SCOPES, Bench, tuned_cudnn
from r2n_kernels.benchmarks.peers import PEERS, installed, our_peer, required
from r2n_kernels.proof.parity import eager_model
from r2n_kernels.reference import Res2Net, randomize

MODEL = "res2net50_48w_2s"
CPU = torch.device("cpu")
OURS = our_peer("torch")


@pytest.fixture
def tiny(monkeypatch):
    """Every model is a small one: for what does not depend on the network."""
    monkeypatch.setattr(
        network, "eager_model", lambda name, family: randomize(Res2Net(network.TINY).eval(), 0)
    )


def timed(peers, *, batch=1, size=(33, 40), dtype=torch.float32, **options):
    options = {"rounds": 2, "seconds": 0.001, **options}
    return Bench(MODEL, peers).run(batch, *size, dtype, CPU, **options)


@pytest.mark.slow
def test_every_peer_is_timed_and_right():
    others = [PEERS["openvino-throughput"]]  # in peers/test_peers.py: it needs two threads
    peers = [p for p in PEERS.values() if p.backend != "inductor" and p not in others]
    assert all(map(installed, peers))
    results = timed([*peers, OURS], batch=2)
    assert [result.peer for result in results] == [*peers, OURS]
    for result in results:
        assert result.left_out == ""
        assert result.verdict.passed
        assert len(result.samples.rounds) == 2
        assert result.again is None
        assert result.memory is None or 50e6 < result.memory < 2e9, result.peer.subject


@pytest.mark.slow
def test_the_compiler_is_timed_and_right_for_each_shape(tiny):
    bench = Bench(MODEL, [PEERS["timm-compile"]])
    for batch in (1, 2):
        (result,) = bench.run(batch, 33, 40, torch.float32, CPU, rounds=2, seconds=0.001)
        assert result.verdict.passed
        assert result.samples.median > 0


@pytest.mark.slow
# The alarm may ring in torch's callback of the collector, which loses it; then it rings again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_compiler_that_takes_too_long_is_left_out():
    bench = Bench(MODEL, [PEERS["timm-compile"], OURS], compile_seconds=0.5)
    late, ours = bench.run(1, 33, 40, torch.float32, CPU, rounds=1, seconds=0.001)
    assert late.left_out == "failed: TimeoutError: compiling took more than 0.5 s"
    assert (late.samples, late.wrong) == (None, False)
    assert ours.samples


def test_a_case_starts_with_nothing_compiled_and_outputs_are_copies(tiny):
    """A CUDA graph's output is overwritten by its next run, here by another peer."""
    log, shared = [], torch.zeros(1, network.TINY.num_classes)

    def build(model, case):
        log.append("build")
        return lambda x: shared.copy_(model(x))

    def spoil(model, case):
        return lambda x: shared.fill_(float("nan"))

    def peer(name, build):
        return dataclasses.replace(
            PEERS["reference"], subject=name, build=build, forget=forget
        )  # fmt: skip

    def forget():
        log.append("forget")

    bench = Bench(MODEL, [peer("a", build), peer("b", build), peer("c", spoil)])
    *right, wrong = bench.run(1, 33, 40, torch.float32, CPU, rounds=1, seconds=0.001)
    assert all(result.verdict.passed for result in right)
    assert wrong.wrong
    # small networks were built before
    assert log[log.index("forget") :] == ["forget", "build", "build"]


@pytest.mark.slow
def test_bfloat16():
    """What a peer cannot do is told; the others go on."""
    onnx, vino, ours = timed([*required(["onnxruntime", "openvino"]), OURS], dtype=torch.bfloat16)
    assert onnx.left_out == "is timed in float32 on the CPU alone"
    assert (onnx.samples, onnx.verdict, onnx.wrong) == (None, None, False)
    assert vino.samples
    assert ours.samples


def test_twice_takes_the_noise(tiny):
    (result,) = timed([OURS], twice=True)
    assert len(result.again.rounds) == len(result.samples.rounds) == 2


def test_preprocessing_is_part_of_the_time(monkeypatch, tiny):
    calls = []

    def create_transform(**config):
        assert config["interpolation"] == "bilinear"
        assert config["input_size"] == (3, 33, 40)

        def transform(photo):
            calls.append(photo.size)
            return torch.zeros(3, 33, 40)

        return transform

    monkeypatch.setattr(network, "create_transform", create_transform)
    (result,) = timed([OURS], batch=2, scope=SCOPES[1])
    assert result.verdict.passed
    assert set(calls) == {(500, 375)}
    assert len(calls) > 2 * 4  # in each call, two images


FAULTS = {
    "short": lambda logits: logits[:1],
    "swapped": lambda logits: logits.flip(0),
    "nan": lambda logits: logits.index_fill(0, torch.tensor([1]), float("nan")),
    "scaled": lambda logits: logits * 1.001,
}


def test_no_times_of_wrong_outputs(tiny):
    def wrong(name):
        def build(model, case):
            return lambda x: FAULTS[name](model(x))

        return dataclasses.replace(PEERS["reference"], subject=name, build=build)

    *bad, good = timed([*map(wrong, FAULTS), OURS], batch=3)
    for result in bad:
        assert (result.samples, result.left_out, result.wrong) == (None, "wrong outputs", True)
    assert good.samples
    assert good.verdict.passed


def test_the_check_looks_at_every_image(monkeypatch):
    monkeypatch.setattr(outputs, "CHUNK", 2)
    eager, x = eager_model(MODEL, "reference"), torch.randn(3, 3, 32, 32)
    held = outputs.OutputCheck(eager, x)
    with torch.no_grad():
        logits = eager(x)
    assert held.judge("x", logits).passed
    for row in range(3):
        wrong = logits.clone()
        wrong[row] = 0
        assert not held.judge("x", wrong).passed


def test_a_peer_that_fails_is_told_and_the_others_go_on(tiny):
    def build(model, case):
        raise RuntimeError("no compiler\nat line 3")

    broken = dataclasses.replace(PEERS["reference"], subject="broken", build=build)
    bad, good = timed([broken, OURS])
    assert (bad.samples, bad.wrong) == (None, False)
    assert bad.left_out == "failed: RuntimeError: no compiler"
    assert good.samples
    with pytest.raises(RuntimeError, match="no compiler"):
        timed([dataclasses.replace(broken, ours=True)])


def test_cudnns_setting_returns():
    before = torch.backends.cudnn.benchmark
    with tuned_cudnn():
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


def test_models_stay_as_they_are(tiny):
    """Peers change their own copies."""
    bench = Bench(MODEL, [PEERS["timm"], PEERS["reference"]])
    before = {name: value.clone() for name, value in bench.reference.state_dict().items()}
    bench.run(1, 33, 33, torch.bfloat16, CPU, rounds=1, seconds=0.001)
    assert all(torch.equal(bench.reference.state_dict()[name], before[name]) for name in before)
