"""The table of variants against the published facts and timm; errors of bad configurations."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch

from r2n_kernels.config import (
    HEADLINE,
    MIN_SIZE,
    VARIANTS,
    Res2NetConfig,
    default_pretrained_cfg,
    variant_name,
)
from r2n_kernels.errors import ConfigError, R2NError, UnknownModelError
from r2n_kernels.reference import Res2Net

# Exact; timm's table says 25.06, 25.70, 37.05, 48.40, 25.29, 25.72, 45.21, 45.23, 24.67 M.
PARAMETERS = {
    "res2net50_14w_8s": 25_059_816,
    "res2net50_26w_4s": 25_699_120,
    "res2net50_26w_6s": 37_051_448,
    "res2net50_26w_8s": 48_403_776,
    "res2net50_48w_2s": 25_287_304,
    "res2net50d": 25_718_352,
    "res2net101_26w_4s": 45_206_688,
    "res2net101d": 45_225_920,
    "res2next50": 24_671_464,
}


def test_the_nine_variants():
    assert list(VARIANTS) == list(PARAMETERS)
    assert HEADLINE in VARIANTS
    assert all(timm.is_model(name) for name in VARIANTS)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_are_exact(name, count):
    with torch.device("meta"):
        model = Res2Net(VARIANTS[name])
    assert sum(p.numel() for p in model.parameters()) == count


def test_headline_facts():
    config = VARIANTS[HEADLINE]
    assert config.layers == (3, 4, 23, 3)
    assert [config.width(stage) for stage in range(4)] == [26, 52, 104, 208]
    assert config.num_features == 2048
    assert config.stem_channels == 64
    assert MIN_SIZE == 32


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("res2net50_48w_2s", [48, 96, 192, 384]),
        ("res2net50_14w_8s", [14, 28, 56, 112]),
        ("res2next50", [32, 64, 128, 256]),
    ],
)
def test_widths(name, widths):
    assert [VARIANTS[name].width(stage) for stage in range(4)] == widths


def test_widths_round_down():
    config = Res2NetConfig((1, 1, 1, 1), (13, 23, 33, 47))
    assert [config.width(stage) for stage in range(4)] == [5, 9, 13, 19]
    # Rounded before the cardinality multiplies: floor(25 * 4 / 64) * 8, not floor(25 * 32 / 64).
    assert Res2NetConfig((1,), (25,), base_width=4, cardinality=8).width(0) == 8


@pytest.mark.parametrize("name", PARAMETERS)
def test_pretrained_cfg_is_timms(name):
    ours = default_pretrained_cfg(name)
    assert ours == timm.get_pretrained_cfg(f"{name}.in1k").to_dict()
    with torch.device("meta"):
        assert list(ours.items()) == list(timm.create_model(name).pretrained_cfg.items())
    assert default_pretrained_cfg(f"{name}.in1k") == ours


def test_pretrained_cfg_is_a_fresh_dict():
    default_pretrained_cfg(HEADLINE)["mean"] = None
    assert default_pretrained_cfg(HEADLINE)["mean"] == (0.485, 0.456, 0.406)


def test_config_is_a_value():
    config = Res2NetConfig([1, 2], [8, 16])  # as read from JSON
    assert config == Res2NetConfig((1, 2), (8, 16))
    assert hash(config) == hash(Res2NetConfig((1, 2), (8, 16)))
    assert config.replace(in_chans=1) == Res2NetConfig((1, 2), (8, 16), in_chans=1)
    assert config.in_chans == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.scale = 2


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        VARIANTS["res2net50d"] = Res2NetConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, r"same, non-zero length, got \(\)"),
        (
            {"layers": (3, 4, 6)},
            r"non-zero length, got \(3, 4, 6\) and \(64, 128, 256, 512\)",
        ),
        ({"layers": (3, 4, 0, 3)}, "layers must be at least 1, got 0"),
        ({"planes": (64, 128, -256, 512)}, "planes must be at least 1, got -256"),
        ({"base_width": 0}, "base_width must be at least 1, got 0"),
        ({"scale": 0}, "scale must be at least 1, got 0"),
        ({"cardinality": 0}, "cardinality must be at least 1, got 0"),
        ({"stem_width": 0}, "stem_width must be at least 1, got 0"),
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
        ({"num_classes": -1}, "num_classes must be 0 or more, got -1"),
        ({"planes": (2, 4, 8, 16)}, "base_width 26 leave a split no channel"),
    ],
)
def test_bad_values(changes, message):
    with pytest.raises(ConfigError, match=message):
        Res2NetConfig(**changes)
    with pytest.raises(ConfigError, match=message):
        Res2NetConfig().replace(**changes)


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_with_and_without_tag(name):
    assert variant_name(name) == variant_name(f"{name}.in1k") == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("res2net101_26w4s", "nearest: res2net101_26w_4s, "),
        ("res2net50_26w_5s", "nearest: res2net50_26w_[468]s, "),
        ("res2next101", "res2next50"),
        ("Res2Net50D", "'Res2Net50D'"),
        ("resnet50.in1k", "'resnet50.in1k'"),
        ("", "res2net50_26w_4s, .*res2net101d"),
        ("zzz", "res2net50_26w_4s, .*res2net101d"),
    ],
)
def test_unknown_name_lists_the_nearest(name, nearest):
    with pytest.raises(UnknownModelError, match=nearest):
        variant_name(name)


def test_unknown_tag():
    with pytest.raises(UnknownModelError, match=r"unknown tag 'in21k' of 'res2net50d'; .*'in1k'"):
        variant_name("res2net50d.in21k")
    with pytest.raises(UnknownModelError, match="unknown tag"):
        default_pretrained_cfg("res2net50d.fb_in1k")


def test_errors_are_what_callers_expect():
    assert issubclass(UnknownModelError, ConfigError)
    assert issubclass(ConfigError, R2NError)
    assert issubclass(ConfigError, ValueError)
