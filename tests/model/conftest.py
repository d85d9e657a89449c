"""Fixtures for tests of the model: pairs of a model and the network that it was made of."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.model import Res2NetModel
from r2n_kernels.reference import Res2Net

from ..conftest import X, assert_same

CONFIG = Res2NetConfig(layers=(1, 2), planes=(9, 14), num_classes=7)
TINY = Res2NetConfig(layers=(1,), planes=(14,), num_classes=7)  # features of the same number
BACKENDS = [
    "torch",
    pytest.param("triton", marks=pytest.mark.skipif(not interpreted(), reason="there is a GPU")),
]


@pytest.fixture(scope="module")
def network(randomize):
    return randomize(Res2Net(CONFIG)).eval()


def packed_pair(network: nn.Module, backend: str) -> tuple[Res2NetModel, nn.Module]:
    """A model that has run, so that its weights are packed, and the network to compare with."""
    model = r2n_kernels.from_timm(network, backend=backend)
    assert_same(model, network)
    return model, copy.deepcopy(network)


@pytest.fixture
def pair(network):
    return packed_pair(network, "torch")


@pytest.fixture(params=BACKENDS)
def each_pair(request, randomize):
    return packed_pair(randomize(Res2Net(TINY)).eval(), request.param)


def change_both(change: Callable[[nn.Module], object], pair: tuple[nn.Module, nn.Module]) -> None:
    """Make the same change to both; the network's numbers are others then."""
    _, network = pair
    with torch.no_grad():
        before = network(X)
        for each in pair:
            torch.manual_seed(0)
            change(each)
        assert before.shape != network(X).shape or not torch.allclose(before, network(X))


def both(change: Callable[[nn.Module], object], pair: tuple[nn.Module, nn.Module]) -> None:
    """The change reaches the numbers, as in plain PyTorch, and stays in copies of the model."""
    model, network = pair
    change_both(change, pair)
    assert_same(model, network)
    assert_same(copy.deepcopy(model), network)
    assert_same(model.to(torch.float32, memory_format=torch.channels_last), network)
