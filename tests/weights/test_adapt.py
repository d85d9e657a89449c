"""Adaptation equals timm's, bit for bit, where timm is deterministic."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from timm.models._manipulate import adapt_input_conv

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights import load_weights
from r2n_kernels.weights.adapt import adapt_classifier, adapt_in_chans


@pytest.fixture
def state(make_state, tiny):
    return make_state(tiny)


@pytest.mark.parametrize("in_chans", [1, 2, 3, 4, 5, 6, 7])
def test_in_chans_equals_timm(in_chans, state, tiny):
    expected = adapt_input_conv(in_chans, state["conv1.weight"].clone())
    found, notes = adapt_in_chans(state, tiny.replace(in_chans=in_chans))
    assert torch.equal(found["conv1.weight"], expected)
    assert len(notes) == (in_chans != 3)


@pytest.mark.parametrize("in_chans", [1, 4])
def test_whole_model_equals_timm(in_chans, tmp_path):
    source = timm.create_model("res2net50d")
    overlay = {"state_dict": source.state_dict(), "hf_hub_id": "", "url": ""}
    adapted = timm.create_model(
        "res2net50d",
        pretrained=True,
        in_chans=in_chans,
        num_classes=0,
        pretrained_cfg_overlay=overlay,
    )
    from r2n_kernels.weights import config_from_module

    weights = load_weights(
        source, config_from_module(adapted), adapt_in_chans=True, adapt_classifier=True
    )
    expected = adapted.state_dict()
    assert list(weights.state) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(weights.state[name], tensor), name


def test_deep_stem(tiny, make_state):
    config = tiny.replace(deep_stem=True, stem_width=8)
    state = make_state(config)
    found, _ = adapt_in_chans(state, config.replace(in_chans=1))
    assert torch.equal(found["conv1.0.weight"], state["conv1.0.weight"].sum(1, keepdim=True))


def test_the_input_is_left_alone(state, tiny):
    before = state["conv1.weight"].clone()
    adapt_in_chans(state, tiny.replace(in_chans=5))
    adapt_classifier(state, tiny.replace(num_classes=0))
    assert torch.equal(state["conv1.weight"], before)
    assert "fc.weight" in state


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(3),
        torch.ones(64, 3, 7, 7, dtype=torch.int8),
        torch.ones(64, 0, 7, 7),
        torch.ones(1).expand(64, 10**9, 7, 7),
    ],
)
def test_odd_first_convolution(weight, state, tiny):
    state["conv1.weight"] = weight
    with pytest.raises(WeightsError, match=r"cannot adapt conv1.weight to 1 input .*rank 4 and"):
        adapt_in_chans(state, tiny.replace(in_chans=1))


def test_missing_first_convolution_is_left_to_validation(state, tiny):
    del state["conv1.weight"]
    with pytest.raises(WeightsError, match=r"conv1.weight: expected \(64, 1, 7, 7\)"):
        load_weights(state, tiny.replace(in_chans=1), adapt_in_chans=True)


def test_fresh_classifier_is_repeatable_and_like_linear(state, tiny):
    config = tiny.replace(num_classes=50)
    torch.manual_seed(1)
    first, notes = adapt_classifier(state, config)
    torch.manual_seed(2)
    again, _ = adapt_classifier(state, config)
    assert torch.equal(first["fc.weight"], again["fc.weight"])
    assert notes == ["classifier of 50 classes is untrained (checkpoint was 5)"]
    bound = 1 / math.sqrt(128)
    assert 0.9 * bound < first["fc.weight"].abs().max() <= bound
    assert first["fc.bias"].abs().max() <= bound


def test_global_generator_is_not_used(state, tiny):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    adapt_classifier(state, tiny.replace(num_classes=50))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("has", "wants", "notes"),
    [
        (5, 5, []),
        (0, 0, []),
        (5, 0, ["classifier of 5 classes dropped"]),
        (0, 4, ["classifier of 4 classes is untrained (checkpoint had none)"]),
    ],
)
def test_classifier_notes(has, wants, notes, make_state, tiny):
    state = make_state(tiny.replace(num_classes=has))
    found, said = adapt_classifier(state, tiny.replace(num_classes=wants))
    assert said == notes
    assert ("fc.weight" in found) == (wants > 0)
