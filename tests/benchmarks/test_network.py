from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks import gate, network
from r2n_kernels.benchmarks.network import SCOPES, Bench, tuned_cudnn
from r2n_kernels.benchmarks.peers import PEERS, Case, compiled, installed, our_peer, required
from r2n_kernels.benchmarks.peers import onnx as onnx_peer
from r2n_kernels.proof.parity import eager_model
from r2n_kernels.proof.tolerance import relative_error
from r2n_kernels.reference import Res2Net, randomize

MODEL = "res2net50_48w_2s"
CPU = torch.device("cpu")
OURS = our_peer("torch")


def timed(peers, *, batch=1, size=(33, 40), dtype=torch.float32, **options):
    options = {"rounds": 2, "seconds": 0.001, **options}
    return Bench(MODEL, peers).run(batch, *size, dtype, CPU, **options)


@pytest.mark.slow
def test_every_peer_is_timed_and_right():
    peers = [peer for peer in PEERS.values() if peer.backend != "inductor"]
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
def test_the_compiler_is_timed_and_right_for_each_shape():
    bench = Bench(MODEL, [PEERS["timm-compile"]])
    for batch in (1, 2):
        (result,) = bench.run(batch, 33, 40, torch.float32, CPU, rounds=2, seconds=0.001)
        assert result.verdict.passed
        assert result.samples.median > 0


@pytest.mark.slow
def test_the_compiler_freezes_weights():
    """A convolution with BatchNorm folded into it is no longer the model's own."""
    model = randomize(Res2Net(network.TINY).eval(), 0)
    case = Case(torch.randn(1, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    with torch.no_grad():
        call = PEERS["timm-compile"].build(model, case)
        before = call(case.x).clone()
        assert relative_error(before, model(case.x)) < 1e-5
        model.conv1.weight.zero_()
        assert not torch.equal(model(case.x), before)
        assert torch.equal(call(case.x), before)


@pytest.mark.slow
def test_a_compiler_that_takes_too_long_is_left_out():
    bench = Bench(MODEL, [PEERS["timm-compile"], OURS], compile_seconds=0.5)
    late, ours = bench.run(1, 33, 40, torch.float32, CPU, rounds=1, seconds=0.001)
    assert late.left_out == "failed: TimeoutError: compiling took more than 0.5 s"
    assert (late.samples, late.wrong) == (None, False)
    assert ours.samples


@pytest.mark.parametrize("name", ["timm-compile-graph", "timm-compile-max-autotune"])
def test_compilers_for_gpus(name):
    with pytest.raises(ConfigError, match="is timed on a GPU alone"):
        PEERS[name].build(Res2Net(network.TINY), Case(torch.zeros(1, 3, 32, 32)))


def test_the_compilers_options(monkeypatch):
    """On a GPU, of which only the name is here."""
    from torch._inductor import config

    asked = {}

    def compile_(model, *, options, dynamic):
        def call(x):
            asked[name] = {**options, "frozen": config.freezing, "dynamic": dynamic}

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(compiled.eager, "channels_last", lambda model, case: model)
    case = SimpleNamespace(
        device=torch.device("cuda"), x=torch.zeros(1, 3, 4, 4), compile_seconds=9.0
    )
    for name in ("timm-compile", "timm-compile-graph", "timm-compile-max-autotune"):
        PEERS[name].build(None, case)
    graphs = {"triton.cudagraphs": True, "dynamic": False}
    assert asked["timm-compile"] == {**graphs, "frozen": True}
    assert asked["timm-compile-graph"] == {**graphs, "frozen": False}
    tuned = {**graphs, "frozen": True, "max_autotune": True}
    assert asked["timm-compile-max-autotune"].items() >= tuned.items()
    assert not config.freezing


def test_a_case_starts_with_nothing_compiled_and_outputs_are_copies():
    """A CUDA graph's output is overwritten by its next run, here by another peer."""
    log, shared = [], torch.zeros(1, 1000)

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


def test_twice_takes_the_noise():
    (result,) = timed([OURS], twice=True)
    assert len(result.again.rounds) == len(result.samples.rounds) == 2


def test_preprocessing_is_part_of_the_time(monkeypatch):
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


def test_no_times_of_wrong_outputs():
    def wrong(name):
        def build(model, case):
            return lambda x: FAULTS[name](model(x))

        return dataclasses.replace(PEERS["reference"], subject=name, build=build)

    *bad, good = timed([*map(wrong, FAULTS), OURS], batch=3)
    for result in bad:
        assert (result.samples, result.left_out, result.wrong) == (None, "wrong outputs", True)
    assert good.samples
    assert good.verdict.passed


def test_the_gate_looks_at_every_image(monkeypatch):
    monkeypatch.setattr(gate, "CHUNK", 2)
    eager, x = eager_model(MODEL, "reference"), torch.randn(3, 3, 32, 32)
    held = gate.Gate(eager, x)
    with torch.no_grad():
        logits = eager(x)
    assert held.judge("x", logits).passed
    for row in range(3):
        wrong = logits.clone()
        wrong[row] = 0
        assert not held.judge("x", wrong).passed


def test_a_peer_that_fails_is_told_and_the_others_go_on():
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


def test_models_stay_as_they_are():
    """Peers change their own copies."""
    bench = Bench(MODEL, [PEERS["timm"], PEERS["reference"]])
    before = {name: value.clone() for name, value in bench.reference.state_dict().items()}
    bench.run(1, 33, 33, torch.bfloat16, CPU, rounds=1, seconds=0.001)
    assert all(torch.equal(bench.reference.state_dict()[name], before[name]) for name in before)


def test_unknown_and_missing_peers(monkeypatch):
    with pytest.raises(ConfigError, match="unknown peer 'tensorrt'; expected one of timm-nchw, "):
        required(["tensorrt"])
    from r2n_kernels.benchmarks import peers

    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ConfigError, match=r"needs onnx: pip install 'r2n_kernels\[peers\]'"):
        required(["onnxruntime"])
    assert not installed(PEERS["onnxruntime"])


@pytest.mark.slow
def test_threads_are_those_of_torch(monkeypatch):
    import onnxruntime

    seen = []
    session = onnxruntime.InferenceSession

    def make(data, options, **rest):
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return session(data, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    timed([dataclasses.replace(PEERS["onnxruntime"], build=onnx_peer.build)])
    assert set(seen) == {(torch.get_num_threads(), 1)}
