"""Adaptation is timm's, bit for bit; validation names every problem in one error."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from timm.models._manipulate import adapt_input_conv

from r2n_kernels.config import VARIANTS
from r2n_kernels.errors import WeightsError
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import config_from_module, load_weights
from r2n_kernels.weights.check import MAX_NAMED, adapt_classifier, adapt_in_chans, validate


def test_complete_state_passes(config, make_state, assert_same):
    state = make_state(config)
    found = validate(dict(reversed(list(state.items()))), config, "x")
    assert_same(found, state)
    assert all(t.is_contiguous() and t.device.type == "cpu" for t in found.values())


def test_result_shares_no_memory(state, tiny):
    state["bn1.bias"] = state["bn1.weight"] = torch.ones(64)
    found = validate(state, tiny, "x")
    pointers = [t.data_ptr() for t in (*found.values(), state["bn1.bias"])]
    assert len(set(pointers)) == len(pointers)


def test_all_problems_in_one_error(state, tiny):
    del state["bn1.weight"]
    state["extra"] = torch.ones(2, 3)
    state["layer2.0.conv1.weight"] = torch.ones(4)
    state["layer3.0.bn1.weight"] = torch.ones_like(state["layer3.0.bn1.weight"], dtype=torch.int8)
    state["fc.bias"][1] = float("nan")
    state["fc.weight"][0, :2] = float("inf")
    state["layer4.0.bn3.running_var"][3] = -0.25
    with pytest.raises(WeightsError) as info:
        validate(state, tiny, "w.pth")
    assert str(info.value).splitlines() == [
        "w.pth: the weights do not fit the model, nothing was loaded",
        "  1 missing:",
        "    bn1.weight: expected (64,)",
        "  1 unexpected:",
        "    extra: found (2, 3)",
        "  1 mis-shaped:",
        "    layer2.0.conv1.weight: expected (32, 32, 1, 1), found (4,)",
        "  1 of the wrong type:",
        "    layer3.0.bn1.weight: expected a float type, found torch.int8",
        "  3 with bad values:",
        "    layer4.0.bn3.running_var: 1 negative values, the lowest -0.25",
        "    fc.weight: 2 of 640 values are NaN or infinite as float32",
        "    fc.bias: 1 of 5 values are NaN or infinite as float32",
    ]


def test_long_lists_are_cut(tiny):
    with pytest.raises(WeightsError, match=r"127 missing:") as info:
        validate({"x": torch.ones(1)}, tiny, "w.pth")
    assert f"and {127 - MAX_NAMED} more" in str(info.value)
    assert str(info.value).count(": expected") == MAX_NAMED


def test_overflow_in_the_cast(state, tiny):
    state["fc.bias"] = torch.full((5,), 1e300, dtype=torch.float64)
    with pytest.raises(WeightsError, match=r"fc.bias: 5 of 5 values are NaN or infinite as"):
        validate(state, tiny, "x")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.ones(5, device="meta"), "a meta tensor, which holds no data"),
        (torch.ones(5).to_sparse(), "expected a dense tensor"),
        (torch.ones(5, dtype=torch.complex64), "expected a float type, found torch.complex64"),
        (torch.ones(5, dtype=torch.bool), "expected a float type, found torch.bool"),
    ],
)
def test_tensors_without_usable_values(tensor, match, state, tiny):
    with pytest.raises(WeightsError, match=rf"fc.bias: .*{match}"):
        validate(state | {"fc.bias": tensor}, tiny, "x")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_classes": 7}, r"classifier has 5 classes, the model 7: .*num_classes=5"),
        ({"num_classes": 0}, r"classifier has 5 classes, the model 0: adapt it"),
        ({"in_chans": 1}, r"adapt_in_chans=True"),
        ({"in_chans": 1, "num_classes": 7}, r"adapt_in_chans=True.*; the classifier has 5"),
        ({"scale": 3}, r"these weights are of Res2NetConfig\(layers=\(1, 1, 1, 1\).*scale=4"),
    ],
)
def test_hints(changes, match, state, tiny):
    with pytest.raises(WeightsError, match=match):
        validate(state, tiny.replace(**changes), "x")


def test_another_variant_is_recognised():
    with torch.device("meta"):
        state = Res2Net(VARIANTS["res2net50_14w_8s"].replace(num_classes=3)).state_dict()
    with pytest.raises(WeightsError, match=r"these weights are of res2net50_14w_8s"):
        validate(state, VARIANTS["res2net50_48w_2s"], "x")


def test_hint_is_left_out_for_a_strange_network(tiny):
    with pytest.raises(WeightsError, match=r"unexpected") as info:
        validate({"layer1.0.conv1.weight": torch.ones(3), "y": torch.ones(1)}, tiny, "x")
    assert "these weights are of" not in str(info.value)


@pytest.mark.parametrize("in_chans", [1, 2, 3, 4, 5, 6, 7])
def test_in_chans_equals_timm(in_chans, state, tiny):
    expected = adapt_input_conv(in_chans, state["conv1.weight"].clone())
    found, notes = adapt_in_chans(state, tiny.replace(in_chans=in_chans))
    assert torch.equal(found["conv1.weight"], expected)
    assert len(notes) == (in_chans != 3)


@pytest.mark.parametrize("in_chans", [1, 4])
def test_whole_model_equals_timm(in_chans, assert_same):
    source = timm.create_model("res2net50d")
    overlay = {"state_dict": source.state_dict(), "hf_hub_id": "", "url": ""}
    adapted = timm.create_model(
        "res2net50d",
        pretrained=True,
        in_chans=in_chans,
        num_classes=0,
        pretrained_cfg_overlay=overlay,
    )
    weights = load_weights(
        source, config_from_module(adapted), adapt_in_chans=True, adapt_classifier=True
    )
    assert_same(weights.state, adapted.state_dict())


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
