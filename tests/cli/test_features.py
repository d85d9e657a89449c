from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from r2n_kernels import create_model
from r2n_kernels.cli import main
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.data import create_transform, read_image, resolve_model_data_config

SHAPES = [(1, 64, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8), (1, 96, 4, 4), (1, 128, 2, 2)]


@pytest.fixture
def image(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_shapes(capsys, model, image):
    assert main(["features", image, *model]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["index", "module", "reduction", "shape"]
    assert [row.split(maxsplit=3)[3] for row in rows] == [str(shape) for shape in SHAPES]
    assert rows[0].split()[:3] == ["0", "act1", "2"]
    assert "licence mit" in err


def test_maps_are_written(model, tiny, image, tmp_path):
    path = tmp_path / "maps.safetensors"
    assert main(["features", image, *model, "--output", str(path)]) == 0
    found = load_file(path)
    network = create_model(f"local-dir:{tiny}", pretrained=True, features_only=True)
    transform = create_transform(**resolve_model_data_config(network))
    expected = network(transform(read_image(image))[None])
    assert list(found) == [f"feature_{i}" for i in range(5)]
    for value, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(value, wanted.contiguous(), rtol=0, atol=0)


def test_dtype(model, image, tmp_path):
    path = str(tmp_path / "maps.safetensors")
    assert main(["features", image, *model, "--output", path, "--dtype", "bfloat16"]) == 0
    assert load_file(path)["feature_4"].dtype == torch.bfloat16


def test_grey_model(capsys):
    assert main(["features", str(DIGITS / "images/digit_3_1.png"), "--model", "digits"]) == 0
    assert "(1, 188, 1, 1)" in capsys.readouterr().out


def test_hostile_images(capsys, hostile, model):
    for path, reason in hostile.items():
        code = main(["features", path, *model])
        err = capsys.readouterr().err
        if reason is None:
            assert code == 0
        else:
            assert code == 2
            assert err.startswith(f"r2n: error: {path}: ")
            assert reason in err
            assert err.count("\n") == 1


def test_no_image_file(capsys, model, tmp_path):
    for path, reason in [("missing\n.png", "missing\\n.png: no such file"), (".", "is a folder")]:
        assert main(["features", path, *model]) == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("maps.npz", "its suffix must be one of .safetensors"),
        ("missing/maps.safetensors", "there is no such folder"),
    ],
)
def test_output_is_checked_before_the_work(capsys, image, tmp_path, name, reason):
    path = str(tmp_path / name)
    # the model does not exist either, and is not what the message is about
    assert main(["features", image, "--model", "local-dir:nowhere", "--output", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"r2n: error: cannot write {path!r}: ")
    assert reason in err


def test_nothing_is_left_behind_after_an_error(model, tmp_path):
    path = tmp_path / "maps.safetensors"
    path.write_text("earlier")
    assert main(["features", "missing.png", *model, "--output", str(path)]) == 2
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == [path.name]
