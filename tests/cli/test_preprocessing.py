from __future__ import annotations

import argparse
import re
from types import SimpleNamespace

import pytest
import timm.data
import torch

from r2n_kernels import create_model
from r2n_kernels.cli import Parser, main
from r2n_kernels.cli.bundled import expand
from r2n_kernels.cli.preprocessing import (
    CROP_MODES,
    INTERPOLATIONS,
    add_preprocessing,
    labels_from,
    prepare,
    preprocessing_from,
)
from r2n_kernels.data import transform
from r2n_kernels.errors import ConfigError, WeightsError


def parsed(*words: str, **more) -> argparse.Namespace:
    parser = Parser(prog="r2n x")
    add_preprocessing(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), **more)


def test_choices_are_the_transforms():
    assert tuple(transform.INTERPOLATIONS) == INTERPOLATIONS
    assert transform.CROP_MODES == CROP_MODES


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--img-size 96", {"input_size": (3, 96, 96)}),
        ("--img-size 96x64 --crop-pct 1", {"input_size": (3, 96, 64), "crop_pct": 1.0}),
        ("--mean 0.5 --std .1 .2 .3", {"mean": (0.5, 0.5, 0.5), "std": (0.1, 0.2, 0.3)}),
        ("--interpolation bicubic --crop-mode squash",
         {"interpolation": "bicubic", "crop_mode": "squash"}),
    ],
)  # fmt: skip
def test_in_timms_words(words, expected):
    found = preprocessing_from(parsed(*words.split()), 3)
    assert found == ({"in_chans": 3, **expected} if expected else {})
    theirs = timm.data.resolve_data_config(found, {"mean": (0.1, 0.1, 0.1)})
    assert {key: theirs[key] for key in expected} == expected


def test_grey_images():
    model = create_model(expand("digits"), pretrained=True)
    config = prepare(parsed("--mean", "0.5", "--img-size", "48", weights=None), model)
    assert (config["input_size"], config["mean"], config["std"]) == ((1, 48, 48), (0.5,), (0.3234,))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--mean 1 2", "--mean: expected 1 or 3 values, got 2"),
        ("--std 1 2 3 4", "--std: expected 1 or 3 values, got 4"),
        ("--std 0", "--std: expected finite numbers, a std not 0"),
        ("--mean nan", "--mean: expected finite numbers"),
    ],
)
def test_values_that_do_not_fit(words, reason):
    with pytest.raises(ConfigError, match=reason):
        preprocessing_from(parsed(*words.split()), 3)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--img-size 16", "--img-size: must be at least 32x32"),
        ("--crop-pct 0", "--crop-pct: expected a number above 0, got '0'"),
        ("--crop-pct inf", "--crop-pct: expected a number above 0"),
        ("--crop-mode middle", "--crop-mode: invalid choice: 'middle'"),
        ("--interpolation linear", "--interpolation: invalid choice: 'linear'"),
        ("--mean x", "--mean: invalid float value: 'x'"),
    ],
)
def test_words_that_are_refused(capsys, words, reason):
    with pytest.raises(SystemExit):
        parsed(*words.split())
    assert f"error: argument {reason}" in capsys.readouterr().err


def test_kept_with_the_model(tiny, tmp_path):
    (tmp_path / "map.txt").write_text("a\nb\nc\nd\ne\n")
    model = create_model(f"local-dir:{tiny}", pretrained=True)
    model.pretrained_cfg |= {"test_input_size": (3, 99, 99), "test_crop_pct": 1.0}
    args = parsed(
        "--img-size", "96", "--mean", "0.25", "--class-map", str(tmp_path / "map.txt"), weights=None
    )
    config = prepare(args, model)
    assert config == {
        "input_size": (3, 96, 96), "interpolation": "bilinear", "mean": (0.25, 0.25, 0.25),
        "std": (0.25, 0.25, 0.25), "crop_pct": 0.875, "crop_mode": "center",
    }  # fmt: skip
    cfg = model.pretrained_cfg
    assert {key: cfg[key] for key in config} == config
    assert ("test_input_size" in cfg, "test_crop_pct" in cfg) == (False, True)
    assert labels_from(args, model) == tuple("abcde") == cfg["label_names"]
    pixels = torch.full((1, 96, 96, 3), 128, dtype=torch.uint8)  # bytes are normalised alike
    floats = transform.create_transform(**config)
    value = (128 / 255 - 0.25) / 0.25
    assert floats.mean == (0.25, 0.25, 0.25)
    torch.testing.assert_close(model(pixels), model(torch.full((1, 3, 96, 96), value)))


def test_nothing_says_how(tiny):
    model = SimpleNamespace(pretrained_cfg={}, in_chans=3, num_classes=5)
    with pytest.raises(ConfigError, match=r"no interpolation, mean, std .*\(--img-size, --crop-p"):
        prepare(parsed("--img-size", "64", "--crop-pct", "1", weights=None), model)


class TestBare:
    """A checkpoint without a config.json: the variant's defaults count, and a warning says so."""

    @pytest.fixture
    def bare(self, tmp_path, randomize) -> str:
        from r2n_kernels.config import VARIANTS
        from r2n_kernels.reference import Res2Net

        network = randomize(Res2Net(VARIANTS["res2net50_26w_4s"].replace(num_classes=3)))
        torch.save({"state_dict": network.state_dict()}, tmp_path / "tuned.pth")
        return str(tmp_path / "tuned.pth")

    def test_classes_and_warning(self, bare, capsys):
        name = "res2net50_26w_4s"
        model = create_model(name, checkpoint=bare)
        assert (model.num_classes, model.pretrained_cfg["num_classes"]) == (3, 3)
        prepare(parsed("--crop-pct", "1", weights=bare, model=name), model)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"r2n: warning: {bare} has no config.json, so that {name}'s own def")
        for said in ("3x224x224", "bilinear", "0.485, 0.456, 0.406", "0.229, 0.224, 0.225"):
            assert said in line
        assert "crop_pct" not in line  # the option said it
        with pytest.raises(WeightsError, match=r"the classifier has 3 classes, the model 9"):
            create_model(name, checkpoint=bare, num_classes=9)

    def test_all_options_are_no_warning(self, bare, capsys):
        words = "--img-size 64 --crop-pct 1 --crop-mode center --mean 0 --std 1"
        args = parsed(
            *words.split(), "--interpolation", "box", weights=bare, model="res2net50_26w_4s"
        )
        model = SimpleNamespace(pretrained_cfg={}, in_chans=3, num_classes=3)
        prepare(args, model)
        assert capsys.readouterr().err == ""


def test_contradiction(model, photo, tmp_path, capsys):
    """Where two config.json describe the same weights, an option decides."""
    photo.resize((90, 70)).save(tmp_path / "a.png")
    folder = str(tmp_path / "out")
    assert main(["convert", *model, "--img-size", "96", "--output", folder]) == 0
    classify = ["classify", str(tmp_path / "a.png"), *model, "--weights", folder]
    assert main(classify) == 2
    told = rf"{model[1]} says input_size .*64.*, the config.json of {folder} says .*96"
    assert re.search(told, capsys.readouterr().err)
    assert main([*classify, "--img-size", "64"]) == 0


def test_resuming_with_other_names_is_refused(model, photo, tmp_path, capsys, monkeypatch):
    from r2n_kernels.results.journal import Journal

    photo.resize((90, 70)).save(tmp_path / "a.png")
    (tmp_path / "map.txt").write_text("E\nD\nC\nB\nA\n")
    output = ["--output", str(tmp_path / "o.jsonl"), "--batch-size", "1"]
    classify = ["classify", str(tmp_path / "a.png"), *model, *output]

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end", stop)
        assert main(classify) == 130
    assert main([*classify, "--class-map", str(tmp_path / "map.txt"), "--resume"]) == 2
    assert "was begun with labels" in capsys.readouterr().err
