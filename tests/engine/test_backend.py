"""Backends by name: those of this package, and somebody else's by its place."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from r2n_kernels import ConfigError, from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import BACKENDS, Backend, backend_class, build_backend
from r2n_kernels.engine.backend import PLACES
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1,), planes=(9,), num_classes=5)
CPU = torch.device("cpu")
OTHERS = """
from r2n_kernels.engine.torch_backend import TorchBackend

class Doubled(TorchBackend):
    name = "doubled"

    def run(self, *args, **kwargs):
        return [2 * output for output in super().run(*args, **kwargs)]

class Partial:
    name = "partial"

    def __init__(self, config, state, dtype, device):
        pass
"""


@pytest.fixture(scope="module")
def network(randomize) -> Res2Net:
    return randomize(Res2Net(SMALL)).eval()


@pytest.fixture
def others(tmp_path, monkeypatch):
    (tmp_path / "others.py").write_text(OTHERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("others", None)


@pytest.mark.parametrize("name", PLACES)
def test_every_name_has_a_class_with_all_parts_but_those_of_an_instance(name):
    found = backend_class(name)
    of_instances = {"name", "config", "dtype", "device"}
    parts = {part for part in (*vars(Backend), *Backend.__annotations__) if part[0] != "_"}
    assert {part for part in parts if not hasattr(found, part)} <= of_instances


def test_the_torch_backend_is_a_backend(network):
    backend = build_backend("torch", SMALL, network.state_dict(), torch.float32, CPU)
    assert isinstance(backend, Backend)
    assert (backend.name, backend.device, backend.dtype) == ("torch", CPU, torch.float32)


def test_somebodys_backend_runs_a_model_and_its_copies(others, network):
    model = from_timm(network, backend="others:Doubled")
    x = torch.randn(2, 3, 40, 40)
    assert "backend=doubled" in repr(model)
    with torch.no_grad():
        expected = 2 * network(x)
        for each in (model, copy.deepcopy(model), model.to(torch.bfloat16).float()):
            torch.testing.assert_close(each(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("others:Partial", "'others:Partial' lacks a part of r2n_kernels.engine.Backend"),
        ("others:Nothing", "unknown backend 'others:Nothing'; .*has no attribute 'Nothing'"),
        ("nowhere:Backend", "unknown backend 'nowhere:Backend'; .*No module named 'nowhere'"),
        ("others", r"unknown backend 'others'; expected one of auto, .*, or a module:Class$"),
        (".others:Doubled", "unknown backend"),
        ("", "unknown backend ''"),
    ],
)
def test_what_is_no_backend_is_named(name, message, others, network):
    with pytest.raises(ConfigError, match=message):
        build_backend(name, SMALL, network.state_dict(), torch.float32, CPU)


def test_names_are_listed_and_their_classes_imported_when_asked_for(tmp_path):
    assert ("auto", *PLACES) == BACKENDS
    code = (
        "import sys, r2n_kernels.engine as e\n"
        "own = [n for n in sys.modules if n.startswith('r2n_kernels')]\n"
        "print(*(n for n in own if n.endswith('_backend') or '.compiled' in n))\n"
        "e.backend_class('torch')\n"
        "print('r2n_kernels.engine.torch_backend' in sys.modules, 'triton' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [line.strip() for line in done.stdout.splitlines()] == ["", "True False"]
