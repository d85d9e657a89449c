"""State dicts inside checkpoints."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights.wrappers import WRAPPERS, unwrap

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
