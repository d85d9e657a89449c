from __future__ import annotations

import logging

import pytest
import torch

from r2n_kernels import ConfigError
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import build_backend, torch_backend
from r2n_kernels.engine.torch_backend import TorchBackend
from r2n_kernels.fold.torch_layout import OneDnnConv, PlainConv, onednn_has
from r2n_kernels.plan import build_plan
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 2, 1), planes=(9, 14, 33), num_classes=7)
CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(not onednn_has(torch.float32), reason="torch has no oneDNN")


@pytest.fixture(scope="module")
def reference(randomize):
    return randomize(Res2Net(SMALL)).eval()


def run(backend: TorchBackend, x: torch.Tensor, wanted: list[int]) -> list[torch.Tensor]:
    plan = build_plan(SMALL, *x.shape[:1], *x.shape[2:], backend.dtype)
    return backend.run(plan, x, [plan.features[i] for i in wanted])


@pytest.mark.parametrize("onednn", [pytest.param(True, marks=needs_onednn), False])
@pytest.mark.parametrize("shape", [(1, 40, 56), (6, 33, 32)], ids=str)
def test_both_kinds_of_convolution_equal_the_reference(
    onednn, shape, reference, rel_error, monkeypatch
):
    if not onednn:
        monkeypatch.setattr(torch_backend, "onednn_has", lambda dtype: False)
    backend = TorchBackend(SMALL, reference.state_dict(), torch.float32, CPU)
    kind = type(backend.network.convs["layer1.0.conv1"][0])
    assert kind is (OneDnnConv if onednn else PlainConv)
    x = torch.randn(shape[0], 3, *shape[1:])
    with torch.no_grad():
        expected = reference.feature_maps(x)
    for _ in range(3):  # plain weights, then packed ones
        for actual, wanted in zip(run(backend, x, [0, 1, 2, 3]), expected, strict=True):
            assert rel_error(actual, wanted) <= 1e-5


def test_only_what_is_wanted_runs(reference):
    backend = TorchBackend(SMALL, reference.state_dict(), torch.float32, CPU)
    plan = build_plan(SMALL, 1, 64, 64)
    steps = plan.steps_for([plan.features[1]])
    assert steps[-1].name == "layer1.0.conv3"
    assert [tuple(t.shape) for t in run(backend, torch.randn(1, 3, 64, 64), [1, 0])] == [
        (1, 36, 16, 16), (1, 64, 32, 32),
    ]  # fmt: skip


def test_bfloat16_on_any_cpu(reference, rel_error, caplog):
    with caplog.at_level(logging.WARNING, "r2n_kernels.engine"):
        backend = TorchBackend(SMALL, reference.state_dict(), torch.bfloat16, CPU)
    native = onednn_has(torch.bfloat16)
    assert backend.compute_dtype == (torch.bfloat16 if native else torch.float32)
    assert ("no fast bfloat16" in caplog.text) is not native
    x = torch.randn(2, 3, 64, 64).bfloat16()
    (actual,) = run(backend, x, [3])
    assert actual.dtype == torch.bfloat16
    with torch.no_grad():
        expected = reference.forward_features(x.float())
    assert rel_error(actual, expected) < 0.05


def test_emulated_bfloat16_is_chosen_by_what_the_cpu_has(reference, monkeypatch):
    monkeypatch.setattr(torch_backend, "onednn_has", lambda dtype: dtype == torch.float32)
    backend = TorchBackend(SMALL, reference.state_dict(), torch.bfloat16, CPU)
    assert backend.compute_dtype == torch.float32
    monkeypatch.setattr(torch_backend, "onednn_has", lambda dtype: True)
    assert torch_backend._compute_dtype(torch.bfloat16, CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("torch", torch.float64, "must be torch.float32, torch.bfloat16 or torch.float16"),
        ("torch", torch.float16, "float16 needs a GPU"),
        ("tensorrt", torch.float32, "unknown backend 'tensorrt'; expected one of auto, torch"),
    ],
)
def test_what_cannot_run_is_named(name, dtype, message, reference):
    with pytest.raises(ConfigError, match=message):
        build_backend(name, SMALL, reference.state_dict(), dtype, CPU)
