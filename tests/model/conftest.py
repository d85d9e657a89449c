"""Fixtures for tests of the model: pairs of a model and the network that it was made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection

import pytest
import torch
from torch import Tensor, nn

import r2n_kernels
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net

from ..conftest import X, assert_same

Change = Callable[[nn.Module], object]
CONFIG = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
TINY = Res2NetConfig(layers=(1,), planes=(14,), num_classes=7)  # features of the same number
IMAGE = X[:1, :, :32, :32]  # as little as there can be for Triton's interpreter
TRITON = (pytest.mark.skipif(not interpreted(), reason="there is a GPU"),)
BACKENDS = ["torch", "openvino", pytest.param("triton", marks=TRITON)]


@pytest.fixture(scope="module")
def network(randomize):
    return randomize(Res2Net(CONFIG)).eval()


def packed_pair(network: nn.Module, backend: str, x: Tensor) -> tuple[Res2NetModel, nn.Module]:
    """A model that has run, so that its weights are packed, and the network to compare with."""
    model = r2n_kernels.from_timm(network, backend=backend)
    assert_same(model, network, x)
    return model, copy.deepcopy(network)


@pytest.fixture
def pair(network):
    return packed_pair(network, "torch", X)


@pytest.fixture(params=BACKENDS)
def each_pair(request, randomize):
    return packed_pair(randomize(Res2Net(TINY)).eval(), request.param, IMAGE)


def on_each_backend(
    changes: dict[str, Change], everywhere: Collection[str]
) -> pytest.MarkDecorator:
    """Parametrize by every change on every backend: some run everywhere by default, all on PyTorch.
    Whatever the head becomes, its modules run, and they are the same behind every backend."""
    cases = [pytest.param(change, "torch", id=f"torch-{k}") for k, change in changes.items()]
    for backend, marks in (("openvino", ()), ("triton", TRITON)):
        for name, change in changes.items():
            slow = () if name in everywhere else (pytest.mark.slow,)
            cases.append(
                pytest.param(change, backend, id=f"{backend}-{name}", marks=(*marks, *slow))
            )
    return pytest.mark.parametrize(("change", "each_pair"), cases, indirect=["each_pair"])


def change_both(change: Change, pair: tuple[nn.Module, nn.Module], x: Tensor = X) -> None:
    """Make the same change to both; the network's numbers are others then."""
    _, network = pair
    with torch.no_grad():
        before = network(x)
        for each in pair:
            torch.manual_seed(0)
            change(each)
        assert before.shape != network(x).shape or not torch.allclose(before, network(x))


def both(change: Change, pair: tuple[nn.Module, nn.Module], x: Tensor = X) -> None:
    """The change reaches the numbers, as in plain PyTorch, and stays in copies of the model."""
    model, network = pair
    change_both(change, pair, x)
    assert_same(model, network, x)
    assert_same(copy.deepcopy(model), network, x)
    assert_same(model.to(torch.float32, memory_format=torch.channels_last), network, x)
