from __future__ import annotations

from types import SimpleNamespace

import pytest

from r2n_kernels.config import default_pretrained_cfg
from r2n_kernels.create import list_models
from r2n_kernels.data import resolve_data_config, resolve_model_data_config
from r2n_kernels.errors import ConfigError

timm_data = pytest.importorskip("timm.data")

CFG = default_pretrained_cfg("res2net101_26w_4s")
ARGS = [
    {},
    {"in_chans": 1},
    {"img_size": 192},
    {"img_size": 192, "in_chans": 1},
    {"img_size": 192, "chans": 1, "mean": [0.5], "std": [0.25]},
    {"input_size": [1, 96, 128], "mean": [0.5], "std": (0.25,)},
    {"input_size": (3, 288, 288), "crop_pct": 1.0, "interpolation": "bicubic"},
    {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_mode": "squash"},
    {"mean": [0.5], "interpolation": "", "crop_pct": None, "crop_mode": None},
]


@pytest.mark.parametrize("args", ARGS, ids=str)
def test_equals_timm(args):
    model = SimpleNamespace(pretrained_cfg=CFG)
    ours = resolve_model_data_config(model, args)
    theirs = timm_data.resolve_model_data_config(model, args)
    assert ours == theirs
    assert list(ours) == list(theirs)
    assert resolve_data_config(args, CFG) == theirs
    assert resolve_data_config(args, model=model) == theirs


@pytest.mark.parametrize("name", list_models())
def test_equals_timm_for_its_own_models(name):
    import timm

    cfg = timm.get_pretrained_cfg(f"{name}.in1k").to_dict()
    assert resolve_data_config(None, cfg) == timm_data.resolve_data_config(None, cfg)
    assert resolve_data_config(None, default_pretrained_cfg(name)) == resolve_data_config(None, cfg)


def test_given_cfg_wins_over_the_models():
    model = SimpleNamespace(pretrained_cfg=CFG)
    assert resolve_model_data_config(model, None, {**CFG, "crop_pct": 0.9})["crop_pct"] == 0.9


def test_in_chans_counts_where_only_img_size_is_given():
    args = {"img_size": 64, "mean": [0.5], "std": [0.5]}
    config = resolve_data_config(args, CFG, in_chans=1)
    assert (config["input_size"], config["mean"]) == ((1, 64, 64), (0.5,))


@pytest.mark.parametrize("key", ["interpolation", "mean", "std", "input_size", "crop_pct"])
def test_never_guesses(key):
    cfg = {k: v for k, v in CFG.items() if k != key}
    with pytest.raises(ConfigError, match=f"no {key} in args or pretrained_cfg"):
        resolve_data_config({}, cfg)


def test_names_all_that_is_missing():
    missing = "input_size, interpolation, mean, std, crop_pct"
    with pytest.raises(ConfigError, match=f"no {missing} in args"):
        resolve_model_data_config(SimpleNamespace())


def test_crop_mode_alone_has_a_default():
    cfg = {k: v for k, v in CFG.items() if k != "crop_mode"}
    assert resolve_data_config({}, cfg)["crop_mode"] == "center"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"input_size": 224}, r"input_size must be \(channels, height, width\), got 224"),
        ({"input_size": (224, 224)}, r"input_size must be .*, got \(224, 224\)"),
        ({"img_size": (224, 224)}, r"img_size must be one integer, got \(224, 224\)"),
        ({"mean": [0.1, 0.2]}, r"mean must have 1 or 3 values, got \(0.1, 0.2\)"),
        ({"std": [0.1, 0.2]}, r"std must have 1 or 3 values"),
    ],
)
def test_bad_args(args, message):
    with pytest.raises(ConfigError, match=message):
        resolve_data_config(args, CFG)
