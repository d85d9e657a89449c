"""Which weights a graph holds: those of its recording, and what it sees of later changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from r2n_kernels import ConfigError
from r2n_kernels.reference import Res2Net

from ..conftest import assert_same
from .conftest import (
    SMALL,
    TRACED,
    build,
    compiled,
    compiler,
    exported,
    images,
    traced,
)


@compiler
def test_compiling_takes_the_weights_of_that_time(network, tmp_path):
    model, peer = build(network, "logits"), copy.deepcopy(network)
    x = images(*TRACED)
    for change in (
        lambda m: m.layer1[0].conv1.weight.mul_(0.5),
        lambda m: m.fc.weight.neg_(),
        lambda m: setattr(m, "act1", nn.Tanh()),
    ):
        with torch.no_grad():
            change(model)
            change(peer)
        assert_same(compiled(model, x, tmp_path), peer, x, 1e-4)


@compiler
def test_a_compiled_model_sees_what_is_loaded_and_what_an_eager_call_saw(network, randomize):
    model = build(network, "logits")
    whole = nn.Sequential(model)
    torch.compiler.reset()
    fast = torch.compile(whole, fullgraph=True, backend="eager")
    x = images(*TRACED)
    with torch.no_grad():
        fast(x)
        other = randomize(Res2Net(SMALL), seed=7).eval()
        whole.load_state_dict({f"0.{k}": v for k, v in other.state_dict().items()})
        assert_same(fast, other, x, 1e-4)
        another = randomize(Res2Net(SMALL), seed=8).eval()
        model.load_state_dict(another.state_dict())
        assert_same(fast, another, x, 1e-4)
        for each in (model, another):
            each.layer2[0].conv3.weight.mul_(3)
        model(x)
        assert_same(fast, another, x, 1e-4)


CHANGES = {
    "in place": lambda m: m.bn1.weight.mul_(2),
    "module": lambda m: setattr(m, "act1", nn.Tanh()),
    "eps": lambda m: setattr(m.layer1[0].bn1, "eps", 9.0),
}


@compiler
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_torch_export_refuses_weights_that_are_not_packed(change, network, tmp_path, rel_error):
    """Its parameters are stand-ins while it runs: nothing can be folded from them."""
    model, x = build(network, "logits"), images(*TRACED)
    with torch.no_grad():
        change(model)
        with pytest.raises(ConfigError, match="not packed: run the model once, then trace it"):
            exported(model, x, tmp_path)
        wanted = model(x)
        assert rel_error(exported(model, x, tmp_path)(x), wanted) < 1e-5


@compiler
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_torch_jit_trace_takes_the_weights_of_that_time(change, network, tmp_path, rel_error):
    model, x = build(network, "logits"), images(*TRACED)
    with torch.no_grad():
        before = model(x)
        change(model)
        actual = traced(model, x, tmp_path)(x)
        assert rel_error(actual, model(x)) < 1e-5
        assert rel_error(actual, before) > 1e-2
