from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open

from r2n_kernels import create_model
from r2n_kernels.cli import main
from r2n_kernels.data import create_transform, read_image, resolve_model_data_config

WIDTH = 128


@pytest.fixture
def folder(hostile, tmp_path):
    return str(tmp_path / "in")


def read(path):
    """paths, status, error ("" for none), embeddings"""
    if path.endswith(".npz"):
        with np.load(path) as data:
            lists = [data[key].tolist() for key in ("paths", "status", "error")]
            return *lists, data["embeddings"]
    with safe_open(path, "np") as file:
        lists = [json.loads(file.metadata()[key]) for key in ("paths", "status", "error")]
        lists[2] = [error or "" for error in lists[2]]
        return *lists, file.get_tensor("embeddings")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore:Palette images")  # the test reads the image too
def test_hostile_folder(capsys, hostile, folder, model, tiny, tmp_path, suffix, strict):
    output = str(tmp_path / f"out{suffix}")
    flags = ["--strict"] if strict else []
    arguments = ["--output", output, "--batch-size", "3", *flags]
    assert main(["embed", folder, *model, *arguments]) == int(strict)
    paths, status, errors, embeddings = read(output)
    assert paths == list(hostile)
    assert embeddings.shape == (len(hostile), WIDTH)
    assert embeddings.dtype == np.float32
    network = create_model(f"local-dir:{tiny}", pretrained=True, num_classes=0)
    transform = create_transform(**resolve_model_data_config(network))
    for path, state, error, row in zip(paths, status, errors, embeddings, strict=True):
        reason = hostile[path]
        if reason is not None:
            assert state == "error"
            assert reason in error
            assert np.isnan(row).all()
        else:
            assert (state, error) == ("ok", "")
            expected = network(transform(read_image(path))[None])[0]
            torch.testing.assert_close(torch.from_numpy(row), expected, rtol=1e-4, atol=1e-5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("10 images: 6 ok, 4 failed, ")
    assert "classifier of 5 classes dropped" in err


def test_weights_with_any_number_of_classes(hostile, tiny, tmp_path):
    """The classifier is not used, so its size need not be told."""
    output = str(tmp_path / "out.npz")
    weights = ["--model", "res2net50_26w_4s", "--weights", str(tiny)]
    good = str(tmp_path / "in" / "good.jpg")
    assert main(["embed", good, *weights, "--output", output, "--dtype", "bfloat16"]) == 0
    assert read(output)[3].shape == (1, WIDTH)


def test_only_failures(model, tmp_path):
    output = str(tmp_path / "out.npz")
    assert main(["embed", "missing.png", *model, "--output", output]) == 1
    paths, status, errors, embeddings = read(output)
    assert (paths, status, errors) == (["missing.png"], ["error"], ["no such file"])
    assert len(embeddings) == 1 or embeddings.size == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.png"], "the following arguments are required: --output"),
        (["--output", "out.npz"], "the following arguments are required: PATH"),
        (
            ["a.png", "--output", "out.csv"],
            "one of .npz, .npy, .safetensors, .parquet",
        ),
        (["a.png", "--output", "no/out.npz"], "out.npz': there is no such folder"),
        (["empty", "--output", "out.npz"], "no image in folder 'empty'"),
        (["a.png", "--output", "out.npz", "--batch-size", "0"], "argument --batch-size: expected"),
        (["a.png", "--output", "out.npz", "--num-classes", "3"], "unrecognized arguments"),
        (["a.png", "--output", "out.npz", "--model", "res2net51"], "unknown model 'res2net51'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused(capsys, monkeypatch, tmp_path, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["embed", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert os.listdir(tmp_path) == ["empty"]
