"""What a name and a pretrained_cfg say of a network: as timm takes them."""

from __future__ import annotations

import json

import pytest
import timm
import torch

from r2n_kernels import ConfigError, UnknownModelError, WeightsError
from r2n_kernels.config import VARIANTS, default_pretrained_cfg
from r2n_kernels.create import architecture_of

NAME = "res2net50d"
CFG = timm.get_pretrained_cfg(f"{NAME}.in1k")
OVERLAYS = [
    None, {}, {"num_classes": 4}, {"num_classes": -1}, {"input_size": [1, 96, 96]},
    {"interpolation": "bicubic", "crop_pct": 1.0}, {"hf_hub_id": "org/repo", "tag": "mine"},
]  # fmt: skip


def ours(name=NAME, given=None, overlay=None, checkpoint=None):
    return architecture_of(name, checkpoint, given, overlay)


@pytest.fixture
def folder(tmp_path):
    stated = {"architecture": NAME, "num_classes": 5, "pretrained_cfg": {"tag": "mine"}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    return tmp_path


@pytest.mark.parametrize("overlay", OVERLAYS, ids=str)
@pytest.mark.parametrize("given", [None, "", {}, "in1k", CFG, CFG.to_dict()], ids=range(6))
def test_a_variant_is_described_as_in_timm(given, overlay):
    with torch.device("meta"):
        theirs = timm.create_model(NAME, pretrained_cfg=given, pretrained_cfg_overlay=overlay)
    config, cfg = ours(given=given, overlay=overlay)
    lists = {"input_size": tuple(theirs.pretrained_cfg["input_size"])}
    assert cfg == theirs.pretrained_cfg | lists
    assert config.num_classes == theirs.num_classes
    assert config.in_chans == theirs.conv1[0].in_channels
    assert config == VARIANTS[NAME].replace(
        num_classes=config.num_classes, in_chans=config.in_chans
    )


def test_what_a_cfg_leaves_out_is_not_guessed():
    """timm would say bicubic, and a crop."""
    config, cfg = ours(given={"num_classes": 3})
    assert cfg == {"architecture": NAME, "num_classes": 3}
    assert config == VARIANTS[NAME].replace(num_classes=3)


def test_the_arguments_are_not_changed():
    given, overlay = default_pretrained_cfg(NAME), {"mean": [0.5, 0.5, 0.5]}
    _, cfg = ours(given=given, overlay=overlay)
    assert given == default_pretrained_cfg(NAME)
    assert overlay == {"mean": [0.5, 0.5, 0.5]}
    assert cfg["mean"] == (0.5, 0.5, 0.5)


def test_a_folder_says_where_it_is_as_in_timm(folder):
    config, cfg = ours(f"LOCAL-DIR:{folder}", overlay={"tag": "other"})
    assert config.num_classes == 5
    assert (cfg["source"], cfg["file"], cfg["tag"]) == ("local-dir", str(folder), "other")
    with torch.device("meta"):
        theirs = timm.create_model(f"local-dir:{folder}").pretrained_cfg
    assert (theirs["source"], theirs["file"]) == (cfg["source"], cfg["file"])


def test_the_config_beside_a_checkpoint_and_what_the_caller_says(folder):
    config, cfg = ours(checkpoint=str(folder))
    assert (config.num_classes, cfg["tag"]) == (5, "mine")
    assert "source" not in cfg
    config, cfg = ours(checkpoint=str(folder), overlay={"num_classes": 6})
    assert (config.num_classes, cfg["num_classes"], cfg["tag"]) == (6, 6, "mine")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"name": "resnet50"}, UnknownModelError, "unknown model 'resnet50'; nearest"),
        ({"given": "zzz"}, UnknownModelError, f"unknown tag 'zzz' of '{NAME}'"),
        ({"given": 3}, TypeError, "pretrained_cfg must be a dict of timm's keys, got int"),
        ({"given": {"crop": 1}}, ConfigError, "pretrained_cfg has no key crop; it has timm's"),
        ({"overlay": {"crop": 1}}, ConfigError, "pretrained_cfg_overlay has no key crop"),
        ({"overlay": "in1k"}, TypeError, "pretrained_cfg_overlay must be a dict .* got str"),
        ({"overlay": {"num_classes": "5"}}, ConfigError, "overlay: expected an integer 'num_cl"),
        ({"given": {"mean": 0.5}}, ConfigError, "pretrained_cfg: expected a list 'mean', got 0.5"),
        ({"overlay": {"input_size": [0, 9, 9]}}, ConfigError, "in_chans must be at least 1, got 0"),
        ({"name": "local-dir:no/such"}, WeightsError, "no/such: no such file or folder"),
    ],
)
def test_errors(kwargs, error, message):
    with pytest.raises(error, match=message):
        ours(**kwargs)


def test_a_folder_brings_its_own_cfg(folder):
    with pytest.raises(AssertionError):
        timm.create_model(f"local-dir:{folder}", pretrained_cfg={"num_classes": 5})
    with pytest.raises(ConfigError, match=r"pretrained_cfg is for a variant's name; 'local-dir:"):
        ours(f"local-dir:{folder}", given={"num_classes": 5})
