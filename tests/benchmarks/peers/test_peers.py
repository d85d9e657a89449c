"""Builders of peers; that all are timed and right is tested with whole networks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks import peers
from r2n_kernels.benchmarks.network import TINY
from r2n_kernels.benchmarks.peers import PEERS, Case, compiled, installed, required
from r2n_kernels.proof.tolerance import relative_error
from r2n_kernels.reference import Res2Net, randomize


def test_unknown_and_missing_peers(monkeypatch):
    with pytest.raises(ConfigError, match="unknown peer 'tensorrt'; expected one of timm-nchw, "):
        required(["tensorrt"])
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
    model, case = Res2Net(TINY).eval(), Case(torch.zeros(1, 3, 32, 32))
    PEERS["onnxruntime"].build(model, case)
    assert seen == [(torch.get_num_threads(), 1)]


@pytest.fixture
def threads():
    """Two threads of torch, as openvino-throughput needs."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_openvino_for_throughput_answers_for_every_image():
    pytest.importorskip("openvino", reason="openvino is not installed")
    model, x = randomize(Res2Net(TINY).eval(), 0), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        call = PEERS["openvino-throughput"].build(model, Case(x))
        first, other = call(x), call(x.flip(0))
        assert relative_error(first, model(x)) < 1e-4
        assert torch.equal(other, first.flip(0))


def test_openvino_for_throughput_needs_parts():
    with pytest.raises(ConfigError, match="needs 2 threads, and a batch of 2 equal parts"):
        PEERS["openvino-throughput"].build(Res2Net(TINY), Case(torch.zeros(3, 3, 32, 32)))


@pytest.mark.slow
def test_the_compiler_freezes_weights():
    """A convolution with BatchNorm folded into it is no longer the model's own."""
    model = randomize(Res2Net(TINY).eval(), 0)
    case = Case(torch.randn(1, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    with torch.no_grad():
        call = PEERS["timm-compile"].build(model, case)
        before = call(case.x).clone()
        assert relative_error(before, model(case.x)) < 1e-5
        model.conv1.weight.zero_()
        assert not torch.equal(model(case.x), before)
        assert torch.equal(call(case.x), before)


@pytest.mark.parametrize("name", ["timm-compile-graph", "timm-compile-max-autotune"])
def test_compilers_for_gpus(name):
    with pytest.raises(ConfigError, match="is timed on a GPU alone"):
        PEERS[name].build(Res2Net(TINY), Case(torch.zeros(1, 3, 32, 32)))


def test_the_compilers_options(monkeypatch):
    """On a GPU, of which only the name is here."""
    from torch._inductor import config

    asked = {}

    def compile_(model, *, options, dynamic):
        def call(x):
            asked[name] = {**options, "frozen": config.freezing, "dynamic": dynamic}

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(compiled, "channels_last", lambda model, case: model)
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
