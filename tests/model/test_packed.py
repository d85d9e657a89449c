"""What is packed from the modules, for how long, and what runs where it cannot be."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels import ConfigError, InputError
from r2n_kernels.model import Res2NetModel
from r2n_kernels.weights import faults_of_trunk

from ..conftest import X, assert_same
from .conftest import CONFIG, IMAGE, change_both


@pytest.mark.parametrize("overlaps", [False, True])
def test_another_first_convolution_takes_other_images(overlaps, pair, monkeypatch, caplog):
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda *_: overlaps)
    for each in pair:
        torch.manual_seed(0)
        each.conv1 = nn.Conv2d(5, 64, 7, 2, 3, bias=False)
    x = torch.randn(2, 5, 40, 33)
    assert_same(*pair, x)
    assert_same(copy.deepcopy(pair[0]), pair[1], x)
    assert not caplog.records  # still folded
    pair[0].load_state_dict(pair[0].state_dict())
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, 5, H, W\], got"):
        pair[0](X)


def test_images_for_changed_first_layers_are_checked_by_those(pair):
    model, network = pair
    for each in pair:
        torch.manual_seed(0)
        each.conv1 = nn.Sequential(nn.Conv2d(1, 3, 1), each.conv1)
    assert_same(model, network, X[:, :1])
    with pytest.raises(InputError, match=r"expected a tensor of shape \[N, None, H, W\], got"):
        model(X[0])


def test_batchnorm_in_training_mode_takes_statistics_as_in_pytorch(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.layer2.train()
    assert_same(model, peer)
    before = model.layer2[0].bn1.running_mean.clone()
    assert_same(model, peer)
    assert not torch.equal(model.layer2[0].bn1.running_mean, before)
    assert_same(model.eval(), peer.eval())


def test_an_unfused_network_says_so_once_and_a_removed_hook_makes_it_fast_again(network, caplog):
    model = r2n_kernels.from_timm(network)
    expected = model(X)
    seen = []
    handle = model.layer1.register_forward_hook(lambda mod, i, out: seen.append(out.shape))
    with caplog.at_level(logging.WARNING):
        model(X)
        model.forward_features(X)
    assert seen == [(2, 36, 9, 10)] * 2
    assert [r.getMessage() for r in caplog.records] == [
        "the network runs module by module, unfused: a module has a forward hook"
    ]
    handle.remove()
    assert torch.equal(model(X), expected)
    assert len(seen) == 2
    model.layer2[1] = nn.Identity()
    assert model(X).shape == (2, 7)
    assert "layer2.1 is Identity, expected Bottle2neck" in caplog.records[-1].getMessage()
    with pytest.raises(ConfigError, match=r"no plan: .*layer2\.1 is Identity"):
        model.plan(1, 64, 64)
    assert "backend=auto" in repr(model)


def test_hooks_of_all_modules_fire(network):
    model, seen = r2n_kernels.from_timm(network), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(type(m)))
    try:
        model(X)
    finally:
        handle.remove()
    assert seen.count(nn.Conv2d) == sum(isinstance(m, nn.Conv2d) for m in network.modules())
    assert seen[-1] is Res2NetModel


def test_forward_hooks_of_the_head_see_what_pytorchs_see(each_pair):
    seen = []
    for each in each_pair:
        each.fc.register_forward_hook(lambda m, args, out: seen.append((*args, out)))
        each.global_pool.register_forward_pre_hook(lambda m, args: seen.append(args))
        with torch.no_grad():
            each(IMAGE)
    for actual, expected in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-4)


def optimised(fc: nn.Linear) -> None:
    fc.weight.grad = torch.ones_like(fc.weight)
    torch.optim.SGD([fc.weight], lr=0.1).step()


@pytest.mark.parametrize("change", [
    lambda m: m.fc.weight.mul_(2),
    lambda m: optimised(m.fc),
    lambda m: m.fc.load_state_dict(nn.Linear(56, 7).state_dict()),
    lambda m: setattr(m, "fc", nn.Linear(56, 3)),
], ids=["in place", "optimiser", "fc.load_state_dict", "new"])  # fmt: skip
def test_the_backends_head_runs_until_it_is_another(change, each_pair):
    model, network = each_pair
    assert model._packed.runs_head()
    change_both(change, each_pair, IMAGE)
    assert not model._packed.runs_head()
    assert_same(model, network, IMAGE)
    model.fc.requires_grad_(False)
    model.refold()
    assert model._packed.runs_head()
    assert_same(model, network, IMAGE)


def test_weights_are_packed_once(each_pair):
    model, _ = each_pair
    packed = model._packed
    model(IMAGE)
    model.eval()
    model.train(False).requires_grad_(False)
    model.forward_intermediates(IMAGE)
    model.state_dict()
    handle = model.conv1.register_forward_hook(lambda *args: None)
    model(IMAGE)
    handle.remove()
    with torch.no_grad():
        model.fc.weight.mul_(2)  # the head alone
        model(IMAGE)
    assert model._packed is packed
    with torch.no_grad():
        model.bn1.weight.mul_(2)
        model(IMAGE)
    assert model._packed is not packed
    packed = model._packed
    model(IMAGE)
    assert model._packed is packed


def test_weights_made_in_inference_mode_are_packed_once(pair):
    model, network = pair
    with torch.inference_mode():
        for each in pair:
            each.conv1.weight = nn.Parameter(each.conv1.weight * 2, requires_grad=False)
    assert_same(model, network)
    packed = model._packed
    assert_same(model, network)
    assert model._packed is packed


def test_refold_after_a_write_that_pytorch_does_not_count(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.conv1.weight.data.mul_(0.5)
    model.refold()
    assert_same(model, peer)


def test_a_head_is_run_once_where_the_device_works_meanwhile(pair, monkeypatch):
    monkeypatch.setattr(Res2NetModel, "_overlaps", lambda m, packed: not packed.why_unfused())
    model, _ = pair
    model.fc = nn.Sequential(nn.BatchNorm1d(56), nn.Linear(56, 3)).train()
    for calls in (1, 2, 3):
        with torch.no_grad():
            model.bn1.weight.mul_(1.1)
        model(X)
        assert int(model.fc[0].num_batches_tracked) == calls


def test_negated_views_are_images_too(each_pair):
    x = torch.complex(torch.zeros_like(IMAGE), IMAGE).conj().imag
    assert x.is_neg()
    assert_same(*each_pair, x)


def test_faults_are_named(network):
    changed = copy.deepcopy(network)
    changed.layer1[0].convs[0].stride = (2, 2)
    changed.bn1.train()
    del changed.maxpool
    assert faults_of_trunk(changed, CONFIG) == [
        "bn1 is in training mode",
        "maxpool is missing, expected MaxPool2d",
        "layer1.0.convs.0.stride is 2, expected 1",
    ]
