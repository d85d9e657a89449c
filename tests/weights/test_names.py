"""The network in a checkpoint: wrappers, prefixes, and the names of other code bases."""

from __future__ import annotations

import re

import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.reference import Res2Net
from r2n_kernels.weights import load_weights
from r2n_kernels.weights.names import MMDET_NOTE, WRAPPERS, canonical_names, unwrap

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
     "model.backbone.", "module.model.module.", "backbone.module.", "net.", "encoder.", "0.",
     "timm_model.", "0.model.", "student.my_net.3."],
)  # fmt: skip
def test_any_prefix_is_found_and_told(prefix, tiny, make_state, assert_same):
    state = make_state(tiny)
    renamed = {prefix + key: value for key, value in state.items()}
    weights = load_weights(renamed, tiny)
    assert_same(weights.state, state)
    assert weights.notes == (f"network under '{prefix}'",)


def test_extras_outside_the_prefix_are_left_out_and_told(tiny, make_state, assert_same):
    """What losses, torchmetrics, other heads and a teacher leave in a LightningModule."""
    state = make_state(tiny)
    extras = {
        "criterion.weight": torch.ones(5),
        "val_metrics.MulticlassF1Score.tp": torch.ones(5),
        "val_metrics.MulticlassF1Score.fp": torch.ones(5),
        "model.projector.0.weight": torch.ones(2, 2),
        "teacher.layer1.0.conv1.weight": torch.ones(2),  # of a ResNet
        "n_averaged": torch.tensor(3),
        "conv1.weight": torch.ones(1),
    }
    wrapped = extras | {f"model.net.{key}": value for key, value in state.items()}
    weights = load_weights({"state_dict": wrapped}, tiny)
    assert_same(weights.state, state)
    left = (
        "left out criterion (1 tensor), val_metrics (2 tensors), model.projector (1 tensor), "
        "teacher (1 tensor), n_averaged (1 tensor), conv1 (1 tensor)"
    )
    assert weights.notes == ("network under 'model.net.'", left)


def test_many_extras_are_told_in_short(tiny, make_state):
    state = {f"net.{key}": value for key, value in make_state(tiny).items()}
    state |= {f"extra{i}.weight": torch.ones(1) for i in range(100)}
    *_, note = load_weights(state, tiny).notes
    assert note.endswith("extra7 (1 tensor) and 92 more")


@pytest.mark.parametrize("prefix", ["", "net."])
def test_strange_entries_inside_the_network_stay_an_error(prefix, tiny, make_state):
    state = {prefix + key: value for key, value in make_state(tiny).items()}
    state[f"{prefix}criterion.weight"] = torch.ones(2)
    with pytest.raises(WeightsError, match=r"(?s)1 unexpected:.* criterion.weight: found \(2,\)"):
        load_weights(state, tiny)


@pytest.mark.parametrize("prefix", ["encoder.", "model.encoder.", "backbone._orig_mod."])
@pytest.mark.parametrize("head", ["fc.", "head.fc."])
def test_classifier_beside_the_network(prefix, head, tiny, make_state, assert_same):
    state = make_state(tiny)
    outer = prefix.partition(".")[0] + "." if prefix.startswith("model") else ""
    renamed = {
        outer + head + key[3:] if key.startswith("fc.") else prefix + key: value
        for key, value in state.items()
    }
    assert_same(load_weights(renamed, tiny).state, state)


def test_classifier_of_its_own_wins(tiny, make_state, assert_same):
    state = make_state(tiny)
    renamed = {f"net.{key}": value for key, value in state.items()}
    renamed |= {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}
    weights = load_weights(renamed, tiny)
    assert_same(weights.state, state)
    assert weights.notes[1] == "left out fc (2 tensors)"


@pytest.mark.parametrize("average", ["model_ema.module.", "ema.", "ema_model.", "ema_net.0."])
def test_a_moving_average_beside_the_network_wins(average, tiny, make_state, assert_same):
    state, old = make_state(tiny, seed=1), make_state(tiny)
    both = {f"model.{key}": value for key, value in old.items()}
    both |= {average + key: value for key, value in state.items()}
    weights = load_weights(both, tiny)
    assert_same(weights.state, state)
    assert weights.notes[:2] == (
        f"network under '{average}'",
        "the moving average of the weights was taken",
    )


@pytest.mark.parametrize(
    ("prefixes", "named"),
    [
        (("student.", "teacher."), r"2 networks, under 'student\.', 'teacher\.'"),
        (("", "module."), r"2 networks, under no prefix, 'module\.'"),
        (("ema.a.", "ema.b.", "c."), r"3 networks, under 'c\.', 'ema\.a\.', 'ema\.b\.'"),
        (("schema.", "cinema."), r"2 networks"),
    ],
)
def test_several_networks_are_refused(prefixes, named, tiny, make_state):
    state = {p + key: value for key, value in make_state(tiny).items() for p in prefixes}
    with pytest.raises(WeightsError, match=named + r".*: pass the state dict of one of them"):
        load_weights(state, tiny)


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
    left = "left out neck (1 tensor), rpn_head (1 tensor)"
    assert weights.notes == ("network under 'backbone.'", left, MMDET_NOTE)


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
    assert weights.notes == ("network under 'backbone.'",)


def test_two_names_for_one_entry():
    state = {"n.layer1.0.convs.0.weight": 1, "n.layer1._orig_mod.0.convs.0.weight": 2}
    match = r"'n.layer1.0.convs.0.weight' and 'n.layer1._orig_mod.0.convs.0.weight' are both 'l"
    with pytest.raises(WeightsError, match=match):
        canonical_names(state, "x")


def test_unknown_names_pass_to_validation(tiny, make_state):
    state = make_state(tiny) | {"layer1.0.convs.0.conv_offset.weight": torch.ones(2)}
    with pytest.raises(WeightsError, match=r"(?s)1 unexpected:.*conv_offset.weight: found \(2,\)"):
        load_weights(state, tiny)


STATE = {"a": torch.ones(1)}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper(wrapper):
    assert unwrap({"epoch": 3, wrapper: STATE}, "x") == STATE


def test_nested():
    assert unwrap({"model": {"module": {"state_dict": STATE}}, "step": 1}, "x") == STATE


@pytest.mark.parametrize("index", range(len(WRAPPERS) - 1))
def test_order_is_timms(index):
    first, second = WRAPPERS[index : index + 2]
    assert unwrap({second: {"b": torch.zeros(1)}, first: STATE}, "x") == STATE


def test_empty_average_is_passed_over():
    assert unwrap({"state_dict_ema": None, "state_dict": STATE}, "x") == STATE


def test_average_that_keeps_its_settings_only_is_passed_over():
    assert unwrap({"ema": {"decay": 0.9}, "module": {}, "net": STATE}, "x") == STATE


def test_a_counter_beside_the_wrapper():
    averaged = {"model_ema": {"n_averaged": torch.tensor(2), "module": STATE}, "model": {"b": 1}}
    assert unwrap(averaged, "x") == STATE


def test_a_mapping_that_holds_itself():
    checkpoint = {"epoch": 3}
    checkpoint["model"] = {"module": checkpoint}
    with pytest.raises(WeightsError, match=r"not named tensors: 'epoch' \(int\), 'model' \(dict\)"):
        unwrap(checkpoint, "x")
    assert unwrap(checkpoint | {"net": STATE}, "x") == STATE


def test_deep_nesting():
    checkpoint = STATE
    for _ in range(5000):
        checkpoint = {"model": checkpoint}
    assert unwrap(checkpoint, "x") == STATE


def test_does_not_alter_the_checkpoint():
    wrapped = {"state_dict": dict(STATE)}
    unwrap(wrapped, "x").clear()
    assert wrapped["state_dict"] == STATE


@pytest.mark.parametrize(
    ("checkpoint", "match"),
    [
        (7, "expected a state dict .*found int"),
        ({"state_dict": 7}, r"found entries that are not named tensors: 'state_dict' \(int\)"),
        ({"a": torch.ones(1), "epoch": 3}, r"not named tensors: 'epoch' \(int\)"),
        (dict.fromkeys(range(8), 0), r"0 \(int\), .* and 3 more"),
        ({}, "the state dict is empty"),
        ({"model": {}}, "the state dict is empty"),
    ],
)
def test_no_state_dict(checkpoint, match):
    with pytest.raises(WeightsError, match=f"^some file: .*{match}"):
        unwrap(checkpoint, "some file")
