"""A model as a module: its tree, its copies, and what moves it."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels import ConfigError
from r2n_kernels.reference import Res2Net

from ..conftest import X, assert_same
from .conftest import CONFIG, TINY


def test_the_tree_is_the_references(network):
    model = r2n_kernels.from_timm(network)
    assert [n for n, _ in model.named_children()] == [n for n, _ in network.named_children()]
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in network.named_parameters()]
    assert [n for n, _ in model.named_buffers()] == [n for n, _ in network.named_buffers()]
    assert not any(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == CONFIG.parameters
    truncated = [nn.Sequential(*list(each.children())[:-2]) for each in (model, network)]
    assert_same(*truncated)
    own = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    assert not own & {t.untyped_storage().data_ptr() for t in network.state_dict().values()}


def test_copies_have_the_changed_modules(pair):
    model, network = pair
    for each in pair:
        torch.manual_seed(1)
        each.fc = nn.Linear(56, 4)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(buffer, weights_only=False),
        copy.copy(model),
    ):
        assert_same(twin, network)
        assert twin.state_dict().keys() == network.state_dict().keys()


def test_a_copy_owns_its_weights(network):
    model = r2n_kernels.from_timm(network)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.conv1.weight.zero_()
        twin.fc.weight.zero_()
    assert_same(model, network)


def test_moving_a_model_moves_its_parameters_and_keeps_them_float32(network):
    model = r2n_kernels.from_timm(network, dtype=torch.bfloat16)
    state = copy.deepcopy(model.state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        assert model(X.to(dtype)).dtype == model.dtype == dtype
        assert model.forward_head(model.forward_features(X.to(dtype)), True).dtype == dtype
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name]), name
    model.layer1.register_forward_hook(lambda *args: None)
    model.fc = nn.Sequential(nn.Linear(56, 8), nn.ReLU(), nn.Linear(8, 3))
    model.to(torch.bfloat16)
    assert model.fc[0].weight.dtype == torch.float32
    assert model(X.bfloat16()).dtype == torch.bfloat16
    assert r2n_kernels.from_timm(r2n_kernels.from_timm(network, dtype=torch.bfloat16)).dtype == (
        torch.bfloat16
    )
    with pytest.raises(ConfigError, match="float64"):
        r2n_kernels.from_timm(network).double()


def test_a_model_without_weights_says_so(pair):
    model, network = pair
    state = copy.deepcopy(model.state_dict())
    model.to("meta")
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    with pytest.raises(ConfigError, match="on the meta device has no weights"):
        model(X.to("meta"))
    model.to_empty(device="cpu").load_state_dict(state)
    assert_same(model, network)
    made = r2n_kernels.create_model("res2net50d", device="meta")
    assert made.conv1[0].weight.is_meta


def test_data_parallel_copies_are_refused(pair):
    with pytest.raises(ConfigError, match="run a model a GPU instead"):
        pair[0]._replicate_for_data_parallel()


def test_from_timm_refuses_a_pooling_that_it_does_not_know(network):
    changed = copy.deepcopy(network)
    changed.global_pool = nn.AdaptiveMaxPool2d(1)
    with pytest.raises(ConfigError, match="global_pool is AdaptiveMaxPool2d, whose pooling"):
        r2n_kernels.from_timm(changed)
    changed.global_pool, changed.fc = nn.Identity(), nn.Identity()
    assert r2n_kernels.from_timm(changed)(X).shape == (2, 56, 5, 5)


def test_from_timm_refuses_what_it_cannot_take_along(randomize):
    for change, match in (
        (lambda m: m.layer1.register_forward_hook(print), "layer1 has a forward hook: remove it"),
        (lambda m: m.fc.register_forward_pre_hook(print), "fc has a forward hook"),
        (lambda m: setattr(m.act1, "forward", torch.tanh), "act1 has another forward"),
        (lambda m: setattr(m, "forward", torch.tanh), "it has another forward"),
        (lambda m: setattr(m.layer1[0], "is_first", False), r"layer1\.0\.is_first is False"),
    ):
        network = randomize(Res2Net(TINY)).eval()
        change(network)
        with pytest.raises(ConfigError, match=match):
            r2n_kernels.from_timm(network)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_low_memory_changes_nothing_but_where_the_parameters_lie(network, backend):
    usual, low = (
        r2n_kernels.from_timm(network, backend=backend, low_memory=low) for low in (False, True)
    )
    assert not any(p.untyped_storage().resizable() for p in low.parameters())
    assert_same(low, usual)
    for twin in (copy.deepcopy(low), pickle.loads(pickle.dumps(low))):
        assert_same(twin, usual)
        assert not any(p.untyped_storage().resizable() for p in twin.parameters())
    for each in (low, usual):
        with torch.no_grad():
            each.layer1[0].conv1.weight.mul_(1.5)
    assert_same(low, usual)
    low.load_state_dict(network.state_dict())
    assert_same(low, network)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_frozen_model_sees_what_is_said_and_not_what_is_done(network, backend):
    model = r2n_kernels.from_timm(network, backend=backend, frozen=True)
    assert_same(model, network)
    other = copy.deepcopy(network)
    for each in (model, other):
        with torch.no_grad():
            each.layer1[0].conv1.weight.mul_(1.5)
    assert_same(model, network)  # as promised
    model.refold()
    assert_same(model, other)
    model.load_state_dict(network.state_dict())
    assert_same(model, network)
    model.reset_classifier(0)
    assert model(X).shape == (len(X), 56)
