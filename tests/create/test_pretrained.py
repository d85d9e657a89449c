"""pretrained_cfg: its keys are timm's, and it names the weights in timm's order."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from timm.models._builder import _resolve_pretrained_source
from timm.models._pretrained import PretrainedCfg

from r2n_kernels import ConfigError
from r2n_kernels.config import default_pretrained_cfg
from r2n_kernels.create.pretrained import _KEYS, checked_cfg, given_cfg, kept_cfg, weights_of

STATE = {"fc.bias": torch.zeros(1)}
SOURCES = [
    {"hf_hub_id": "org/repo"},
    {"hf_hub_id": "org/repo", "url": "http://host/x.pth"},
    {"hf_hub_id": "org/repo", "file": "x.pth"},
    {"hf_hub_id": "org/repo", "file": "x.pth", "state_dict": STATE},
    {"source": "hf-hub", "hf_hub_id": "org/repo", "file": "x.pth", "state_dict": STATE},
    {"source": "local-dir", "hf_hub_id": "org/repo", "file": "folder", "state_dict": STATE},
    {"source": "other", "hf_hub_id": "org/repo", "file": ""},
]


def test_keys_are_timms():
    assert {field.name for field in dataclasses.fields(PretrainedCfg)} == _KEYS


@pytest.mark.parametrize("cfg", SOURCES, ids=lambda cfg: "+".join(cfg))
def test_weights_are_where_timm_looks(cfg):
    kind, place = _resolve_pretrained_source(cfg)
    prefix = {"hf-hub": "hf-hub:", "local-dir": "local-dir:"}.get(kind)
    assert weights_of(cfg) == (f"{prefix}{place}" if prefix else place)


def test_default_names_the_hub():
    assert weights_of(default_pretrained_cfg("res2next50")) == "hf-hub:timm/res2next50.in1k"
    named = {"hf_hub_id": "org/repo", "hf_hub_filename": "pytorch_model.bin"}
    assert weights_of(named) == "hf-hub:org/repo"


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({}, "says nowhere where its weights are"),
        ({"source": "local-dir", "hf_hub_id": "org/repo"}, "says nowhere"),
        ({"url": "http://host/x.pth"}, "by url alone, 'http://host/x.pth': download them and pass"),
        ({"hf_hub_id": "a/b", "hf_hub_filename": "x.npz"}, r"must be one of model.* got 'x\.npz'"),
        ({"hf_hub_id": "a/b", "custom_load": True}, r"\['custom_load'\] is not supported, got T"),
        ({"hf_hub_id": "a/b", "label_offset": 1}, r"\['label_offset'\] is not supported, got 1"),
    ],
)
def test_weights_that_cannot_be_had(cfg, message):
    with pytest.raises(ConfigError, match=message):
        weights_of(cfg)


def test_given_in_each_form():
    theirs = timm.get_pretrained_cfg("res2net101d.in1k")
    wanted = default_pretrained_cfg("res2net101d")
    for given in (theirs, theirs.to_dict(), "in1k", wanted):
        assert given_cfg("res2net101d", given) == wanted
    assert given_cfg("res2net101d", None) == given_cfg("res2net101d", "") == {}


def test_checked_makes_tuples_of_a_copy():
    entries = {"mean": [0.5], "pool_size": [7, 7], "label_names": ["a"]}
    assert checked_cfg(entries, "x") == {"mean": (0.5,), "pool_size": (7, 7), "label_names": ["a"]}
    assert entries["mean"] == [0.5]
    assert checked_cfg(None, "x") == {}


def test_kept_is_what_timm_keeps():
    cfg = {**default_pretrained_cfg("res2net50d"), "state_dict": STATE}
    with torch.device("meta"):
        theirs = timm.create_model("res2net50d", features_only=True).pretrained_cfg
    assert kept_cfg(cfg, features_only=True) == theirs
    assert kept_cfg(cfg, features_only=False) == default_pretrained_cfg("res2net50d")
