"""Which models there are: each answer is timm's, of the nine variants."""

from __future__ import annotations

import fnmatch
import pathlib

import pytest
import timm

import r2n_kernels
from r2n_kernels.config import VARIANTS
from r2n_kernels.create import is_model, is_model_pretrained, list_models, list_pretrained

FILTERS = [
    "", None, [], [""], "*", "res2*", "*101*", "res2net50d", "res2net50d.in1k", "res2net50d.",
    "*.in1k", "*.zzz", ".*", "RES2*", "res2net50_[24]*", "*w_?s", "zzz",
    ["*50d", "*101*"], ("res2next50", ""), {"res2net101d", "zzz"},
]  # fmt: skip


def named(wanted: object) -> str:
    """The same in every process: a set's own order is not."""
    return str(sorted(wanted) if isinstance(wanted, set) else wanted)


NAMES = ["res2net50d", "res2net50d.in1k", "res2net50d.zzz", "res2net50d.", "Res2Net50d",
         "resnext", "", "hf-hub:timm/res2net50d.in1k"]  # fmt: skip


def timms(*args, **kwargs):
    """timm's list, without what is no Res2Net of this package."""
    return [name for name in timm.list_models(*args, **kwargs) if name.split(".")[0] in VARIANTS]


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("tags", [None, False, True])
@pytest.mark.parametrize("wanted", FILTERS, ids=named)
def test_lists_are_timms(wanted, pretrained, tags):
    options = {"pretrained": pretrained, "include_tags": tags}
    assert list_models(wanted, **options) == timms(wanted, **options)
    options |= {"exclude_filters": wanted}
    assert list_models("res2*", **options) == timms("res2*", **options)
    assert list_models("res2*", name_matches_cfg=True, **options) == list_models("res2*", **options)


@pytest.mark.parametrize("module", ["", "res2net", "resnet", ["resnet", "res2net"], []], ids=str)
def test_modules_are_timms(module):
    assert list_models(module=module) == timms(module=module)
    assert list_models("*50d", module, True) == timms("*50d", module, True)


@pytest.mark.parametrize("wanted", FILTERS, ids=named)
def test_pretrained_lists_are_timms(wanted):
    ours = list_pretrained(wanted, "*101d*")
    assert ours == [
        n for n in timm.list_pretrained(wanted, "*101d*") if n.split(".")[0] in VARIANTS
    ]
    assert not fnmatch.filter(ours, "*101d*")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_a_model_is_timms(name):
    mine = name.split(".")[0] in VARIANTS  # of timm's own others, this package says no
    assert is_model(name) == timm.is_model(name) == mine
    assert is_model_pretrained(name) == timm.is_model_pretrained(name)


def test_other_networks_are_none_of_ours():
    assert timm.is_model("resnet50")
    assert not is_model("resnet50")
    assert not is_model_pretrained("resnet50.a1_in1k")
    assert list_models("resnet*") == []


def test_public():
    assert r2n_kernels.list_models() == list(VARIANTS)
    assert r2n_kernels.list_pretrained() == [f"{name}.in1k" for name in VARIANTS]
    assert r2n_kernels.is_model("res2net101_26w_4s.in1k")
    assert r2n_kernels.is_model_pretrained("res2net101_26w_4s.in1k")


@pytest.mark.parametrize("argument", ["filter", "module", "exclude_filters"])
def test_patterns_are_text(argument):
    with pytest.raises(TypeError, match=rf"{argument} must be a str or several, got \[1\]"):
        list_models(**{argument: [1]})
    with pytest.raises(TypeError, match=rf"{argument} must be a str or several, got 3"):
        list_models(**{argument: 3})


@pytest.mark.parametrize("ask", [is_model, is_model_pretrained])
def test_names_are_text(ask):
    with pytest.raises(TypeError, match="a model's name must be a str, got PosixPath"):
        ask(pathlib.PosixPath("res2net50d"))
