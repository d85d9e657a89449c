"""State dicts into a model: all of one, or an error and none of it."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

import r2n_kernels
from r2n_kernels import WeightsError
from r2n_kernels.reference import Res2Net

from ..conftest import X, assert_same
from .conftest import CONFIG, TINY


def wrapped(trunk: nn.Module) -> nn.Module:
    return nn.Sequential(trunk, nn.Linear(7, 3))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
def test_a_wrappers_state_dict_loads(strict, assign, pair, randomize):
    model, _ = pair
    other = wrapped(randomize(Res2Net(CONFIG), seed=3).eval())
    state = copy.deepcopy(other.state_dict())
    network = wrapped(model)
    result = network.load_state_dict(state, strict=strict, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert_same(network, other)
    assert not any(p.requires_grad for p in model.parameters())
    assert network.state_dict().keys() == state.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_loading_says_what_was_missing_and_unexpected(pair, randomize):
    model, network = pair
    other = randomize(Res2Net(CONFIG), seed=4).eval()
    assert model.load_state_dict(other.state_dict()) == network.load_state_dict(other.state_dict())
    assert_same(model, network)
    part = {k: v + 1 for k, v in other.state_dict().items() if k.startswith("fc")}
    part["head.weight"] = torch.zeros(3)
    actual = model.load_state_dict(part, strict=False)
    expected = network.load_state_dict(part, strict=False)
    assert actual.unexpected_keys == expected.unexpected_keys == ["head.weight"]
    counters = {k for k in actual.missing_keys if k.endswith("num_batches_tracked")}
    assert set(actual.missing_keys) - counters == set(expected.missing_keys) - counters
    assert_same(model, network)


def test_a_load_that_overflows_leaves_everything(network):
    model = r2n_kernels.from_timm(network)
    bad = dict(network.state_dict())
    bad["bn1.weight"] = torch.full((64,), 3e38)
    bad["bn1.running_var"] = torch.zeros(64)
    with pytest.raises(WeightsError, match=r"not finite in torch\.float32"):
        model.load_state_dict(bad)
    assert_same(model, network)
    assert torch.equal(model.state_dict()["bn1.weight"], network.bn1.weight)


def test_weights_set_to_nonsense_are_named(network):
    model = r2n_kernels.from_timm(network)
    with torch.no_grad():
        model.layer1[0].conv1.weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1: .* not finite"):
        model(X)


def test_good_weights_rescue_a_model_of_bad_ones(pair):
    model, network = pair
    with torch.no_grad():
        model.conv1.weight[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"conv1: .* not finite"):
        model(X)
    model.load_state_dict(network.state_dict())
    assert_same(model, network)


def test_a_model_with_another_head_loads_as_pytorch_does(network):
    model, peer = r2n_kernels.from_timm(network), copy.deepcopy(network)
    for each in (model, peer):
        each.fc = nn.Sequential(nn.Linear(56, 8), nn.ReLU(), nn.Linear(8, 3))
    assert model.load_state_dict(peer.state_dict()) == peer.load_state_dict(peer.state_dict())
    assert_same(model, peer)
    with pytest.raises(RuntimeError, match=r"Missing key.*fc\.0\.weight"):
        model.load_state_dict(network.state_dict())


def test_a_model_with_parts_of_somebodys_loads_as_pytorch_does(pair):
    for each in pair:
        each.neck = nn.Linear(7, 7)
        each.fc.register_buffer("temperature", torch.ones(1))
    model, network = pair
    assert model.load_state_dict(network.state_dict()) == ([], [])
    assert torch.equal(model.neck.weight, network.neck.weight)
    assert_same(model, network)
    assert model.load_state_dict({"neck.bias": torch.ones(7)}, strict=False).unexpected_keys == []


def test_a_new_classifier_of_other_classes_loads(pair):
    model, network = pair
    for each in pair:
        each.fc = nn.Linear(56, 4)
    assert model.load_state_dict(network.state_dict()) == ([], [])
    assert_same(model, network)
    model.refold()
    assert_same(model, network)


def test_safetensors_loads_and_saves_models(pair, tmp_path, randomize):
    from safetensors.torch import load_model, save_model

    model, _ = pair
    other = randomize(Res2Net(CONFIG), seed=5).eval()
    save_model(other, str(tmp_path / "other.safetensors"))
    assert load_model(model, str(tmp_path / "other.safetensors")) == (set(), [])
    assert_same(model, other)
    save_model(model, str(tmp_path / "model.safetensors"))
    fresh = Res2Net(CONFIG).eval()
    load_model(fresh, str(tmp_path / "model.safetensors"))
    assert_same(model, fresh)


def test_a_load_is_seen_whole_by_other_threads(randomize):
    networks = [randomize(Res2Net(TINY), seed=seed).eval() for seed in (1, 2)]
    model = r2n_kernels.from_timm(networks[0])
    with torch.no_grad():
        expected = [network(X) for network in networks]
    wrong, stop = [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            with torch.no_grad():
                answer = model(X)
            if not any(torch.allclose(answer, e, rtol=1e-3, atol=1e-3) for e in expected):
                wrong.append(answer)

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(12):
            model.load_state_dict(networks[i % 2].state_dict())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
