"""timm's config.json, as timm writes it and as people edit it."""

from __future__ import annotations

import json

import pytest
import timm
from timm.models._hub import save_config_for_hf

from r2n_kernels.config import VARIANTS, Res2NetConfig
from r2n_kernels.errors import ConfigError, UnknownModelError
from r2n_kernels.weights import config_from_module, config_from_timm

NAME = "res2net50_26w_4s"


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("res2next50", {}),
        ("res2net101d", {"num_classes": 7}),
        (NAME, {"in_chans": 1, "num_classes": 0, "drop_rate": 0.1}),
        (NAME, {"layers": (1, 2, 1, 1), "channels": (32, 64, 96, 128), "base_width": 40}),
        (NAME, {"block_args": {"scale": 3}, "stem_type": "deep", "stem_width": 24}),
    ],
)
def test_what_timm_saves(name, kwargs, tmp_path):
    module = timm.create_model(name, **kwargs)
    args = {k: v for k, v in kwargs.items() if k not in ("num_classes", "in_chans")}
    save_config_for_hf(module, tmp_path / "config.json", model_args=args)
    saved = json.loads((tmp_path / "config.json").read_text())
    config, pretrained, found = config_from_timm(saved)
    assert found == name
    assert config == config_from_module(module).replace(stem_width=config.stem_width)
    assert pretrained["architecture"] == name
    assert pretrained["num_classes"] == config.num_classes
    assert pretrained["input_size"] == (config.in_chans, 224, 224)
    assert pretrained["interpolation"] == "bilinear"
    # timm itself averages the mean for other than three channels
    assert len(pretrained["mean"]) == config.in_chans


def test_every_model_argument():
    args = {
        "layers": [1, 2],
        "channels": [16, 32],
        "base_width": 20,
        "cardinality": 2,
        "stem_width": 16,
        "stem_type": "deep",
        "avg_down": True,
        "in_chans": 4,
        "num_classes": 6,
        "block_args": {"scale": 5},
        "output_stride": 32,
        "global_pool": "avg",
        "drop_path_rate": 0.2,
    }
    config, _, _ = config_from_timm({"architecture": NAME, "model_args": args})
    assert config == Res2NetConfig(
        (1, 2), (16, 32), 20, 5, 2, 16, deep_stem=True, avg_down=True, in_chans=4, num_classes=6
    )


def test_older_flat_format():
    flat = {
        "architecture": f"{NAME}.in1k",
        "num_classes": 11,
        "num_features": 2048,
        "input_size": [3, 128, 128],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "label_names": ["a", "b"],
    }
    config, pretrained, name = config_from_timm(flat)
    assert (config, name) == (VARIANTS[NAME].replace(num_classes=11), NAME)
    assert pretrained == {
        "architecture": NAME,
        "num_classes": 11,
        "input_size": (3, 128, 128),
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "label_names": ["a", "b"],
    }
    assert flat["input_size"] == [3, 128, 128]  # untouched


def test_nothing_about_images_is_guessed():
    _, pretrained, _ = config_from_timm({"architecture": NAME})
    assert pretrained == {"architecture": NAME, "num_classes": 1000}


def test_precedence():
    cfg = {"architecture": NAME, "num_classes": 20, "pretrained_cfg": {"num_classes": 30}}
    assert config_from_timm(cfg)[0].num_classes == 20
    assert config_from_timm(cfg | {"model_args": {"num_classes": 40}})[0].num_classes == 40
    del cfg["num_classes"]
    assert config_from_timm(cfg)[0].num_classes == 30


@pytest.mark.parametrize("name", ["resnet50", "res2net50", "res2net50d.other"])
def test_architecture_outside_the_family(name):
    with pytest.raises(UnknownModelError, match=name.partition(".")[0]):
        config_from_timm({"architecture": name})


@pytest.mark.parametrize(
    ("cfg", "match"),
    [
        ({}, r"expected a string 'architecture', got keys"),
        ({"architecture": 3}, r"expected a string 'architecture', got 3"),
        ({"model_args": [1]}, r"expected an object 'model_args', got \[1\]"),
        ({"pretrained_cfg": 3}, r"expected an object 'pretrained_cfg', got 3"),
        ({"pretrained_cfg": {"mean": 3}}, r"expected a list 'mean', got 3"),
        ({"num_classes": "ten"}, r"expected an integer 'num_classes', got 'ten'"),
        ({"pretrained_cfg": {"global_pool": "mean"}}, r"global_pool to be one of .*, got 'mean'"),
    ],
)
def test_malformed(cfg, match):
    cfg = cfg if not cfg or "architecture" in cfg else {"architecture": NAME} | cfg
    with pytest.raises(ConfigError, match=match):
        config_from_timm(cfg)


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"attn": 1, "foo": "x"}, r"model_args not supported: attn=1, foo='x'"),
        ({"output_stride": 16}, r"not supported: output_stride=16"),
        ({"act_layer": "silu"}, r"not supported: act_layer='silu'"),
        ({"stem_type": "deep_tiered"}, r"not supported: stem_type='deep_tiered'"),
        ({"global_pool": "mean"}, r"global_pool to be one of .*, got 'mean'"),
        ({"block_args": {"scale": 4, "attn_layer": "se"}}, r"block_args not supported: .*se"),
        ({"block_args": 3}, r"block_args not supported: 3"),
        ({"layers": 3}, r"a list of integers 'layers', got 3"),
        ({"layers": [1, 2.5]}, r"an integer 'layers', got 2.5"),
        ({"avg_down": 1}, r"true or false for 'avg_down', got 1"),
        ({"base_width": True}, r"an integer 'base_width', got True"),
        ({"layers": [1]}, r"layers and planes must have the same"),
    ],
)
def test_unsupported_model_arguments(args, match):
    with pytest.raises(ConfigError, match=match):
        config_from_timm({"architecture": NAME, "model_args": args})
