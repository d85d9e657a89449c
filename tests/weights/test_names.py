"""Key names of other code bases, made by renaming a known state dict."""

from __future__ import annotations

import re

import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import load_weights
from r2n_kernels.weights.names import MMDET_NOTE, canonical_names

COUNTER = "num_batches_tracked"


@pytest.fixture
def deep(tiny):
    return tiny.replace(stem_width=8, deep_stem=True, avg_down=True)


def mmdet(key: str) -> str:
    """The detector's name of a backbone's parameter."""
    key = re.sub(r"^conv1\.(\d)\.", r"stem.\1.", key)
    return "backbone." + re.sub(r"^bn1\.", "stem.7.", key)


def mmpretrain(key: str) -> str:
    """The classifier's name of a parameter."""
    if key.startswith("fc."):
        return f"head.{key}"
    for index, name in {
        "0": "0.conv",
        "1": "0.bn",
        "3": "1.conv",
        "4": "1.bn",
        "6": "2.conv",
    }.items():
        key = re.sub(rf"^conv1\.{index}\.", f"stem.{name}.", key)
    return "backbone." + re.sub(r"^bn1\.", "stem.2.bn.", key)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "_orig_mod.module.",
     "model.backbone.", "module.model.module.", "backbone.module."],
)  # fmt: skip
def test_prefixes(prefix, tiny, make_state, assert_same):
    state = make_state(tiny)
    renamed = {prefix + key: value for key, value in state.items()}
    assert_same(load_weights(renamed, tiny).state, state)


def test_compiled_parts(tiny, make_state, assert_same):
    state = make_state(tiny)
    renamed = {key.replace("layer1.", "layer1._orig_mod."): v for key, v in state.items()}
    assert_same(load_weights(renamed, tiny).state, state)


@pytest.mark.parametrize("v1b", [False, True])
def test_authors(v1b, tiny, deep, make_state, assert_same):
    config = deep if v1b else tiny
    state = make_state(config)
    old = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    # Their names, seen in their code: the same as timm's, without counters in old files.
    if v1b:
        assert {"conv1.0.weight", "conv1.6.weight", "layer1.0.downsample.1.weight"} <= set(old)
    else:
        assert {"conv1.weight", "bn1.weight", "layer1.0.downsample.0.weight"} <= set(old)
    assert {"layer1.0.convs.0.weight", "layer1.0.bns.0.weight", "fc.bias"} <= set(old)
    found = load_weights({"state_dict": old}, config).state
    assert_same({k: v for k, v in found.items() if not k.endswith(COUNTER)}, old)


def test_mmdetection(deep, make_state, assert_same):
    config = deep.replace(num_classes=0)
    state = make_state(config)
    renamed = {mmdet(key): value for key, value in state.items()}
    assert {"backbone.stem.0.weight", "backbone.stem.7.running_var"} <= set(renamed)
    renamed |= {"neck.fpn.0.weight": torch.ones(2), "rpn_head.cls.bias": torch.ones(2)}
    weights = load_weights({"meta": {"epoch": 1}, "state_dict": renamed}, config)
    assert_same(weights.state, state)
    left = "kept the backbone, left out neck (1 tensors), rpn_head (1 tensors)"
    assert weights.notes == (left, MMDET_NOTE)


def test_mmdetection_has_no_classifier(deep, make_state):
    state = make_state(deep.replace(num_classes=0))
    renamed = {mmdet(key): value for key, value in state.items()}
    match = (
        r"(?s)2 missing:.*fc.weight: expected \(5, 128\).*fc.bias: expected \(5,\).*"
        r"no classifier: build the model with num_classes=0"
    )
    with pytest.raises(WeightsError, match=match):
        load_weights(renamed, deep)
    weights = load_weights(renamed, deep, adapt_classifier=True)
    Res2Net(deep).load_state_dict(weights.state, strict=True)


@pytest.mark.parametrize("stem", ["plain", "deep"])
def test_mmpretrain(stem, tiny, deep, make_state, assert_same):
    config = deep if stem == "deep" else tiny
    state = make_state(config)
    renamed = {mmpretrain(key) if stem == "deep" else
               ("head." if key.startswith("fc.") else "backbone.") + key: value
               for key, value in state.items()}  # fmt: skip
    weights = load_weights({"state_dict": renamed}, config)
    assert_same(weights.state, state)
    assert weights.notes == ()


def test_two_names_for_one_entry():
    state = {"conv1.weight": 1, "module.conv1.weight": 2}
    with pytest.raises(WeightsError, match=r"'conv1.weight' and 'module.conv1.weight' are both 'c"):
        canonical_names(state, "x")


def test_unknown_names_pass_to_validation(tiny, make_state):
    state = make_state(tiny) | {"layer1.0.convs.0.conv_offset.weight": torch.ones(2)}
    with pytest.raises(WeightsError, match=r"(?s)1 unexpected:.*conv_offset.weight: found \(2,\)"):
        load_weights(state, tiny)
