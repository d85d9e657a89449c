"""Damaged and hostile checkpoint files."""

from __future__ import annotations

import pickle
import random
from datetime import date

import pytest
import torch
from safetensors.torch import save_file

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights.files import read_checkpoint


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_refused_and_not_run(zipped, tmp_path):
    path = tmp_path / "w.pth"
    content = {"state_dict": {"a": torch.ones(1)}, "meta": Bomb(tmp_path / "ran")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"w.pth: refused: .* run code. .* convert it to safe"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_the_unsafe_class_is_named(tmp_path):
    torch.save(Bomb(tmp_path / "ran"), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"refused: .*open"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"refused: .*torch.nn.modules.linear.Linear"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_plain_tensors_load(zipped, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    content, notes = read_checkpoint(tmp_path / "w.pth")
    assert content["a"].tolist() == [1, 1]
    assert notes == []


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.tar"])
@pytest.mark.parametrize(
    "content",
    [b"x", b"PK\x03\x04", b"\x80\x02.", pickle.dumps(7, 2), b"\xff" * 64, b"\0" * 999, b"<htm"],
)
def test_garbage(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found, _ = read_checkpoint(path)
    except WeightsError as error:
        assert str(error).startswith(f"{path}: damaged or not a ")  # noqa: PT017
    else:
        assert not isinstance(found, dict)  # a lone pickled number is read, and refused later


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_truncation_anywhere(name, tmp_path):
    path = tmp_path / name
    tensors = {f"t{i}": torch.full((50,), float(i)) for i in range(4)}
    (save_file if name.endswith(".safetensors") else torch.save)(tensors, path)
    data = path.read_bytes()
    chooser = random.Random(0)
    for size in [1, 7, 8, 9, len(data) - 1, *(chooser.randrange(1, len(data)) for _ in range(20))]:
        path.write_bytes(data[:size])
        with pytest.raises(WeightsError, match=r"damaged or not a"):
            read_checkpoint(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_empty(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r": the file is empty"):
        read_checkpoint(tmp_path / name)


def test_all_that_is_no_plain_data_is_named(tmp_path):
    layers = {"model": torch.nn.Linear(2, 2), "loss": torch.nn.ReLU(), "when": date(2026, 1, 2)}
    torch.save(layers, tmp_path / "w.pth")
    match = (
        r"refused: beside tensors and plain data it holds torch.nn.modules.activation.ReLU, "
        r"torch.nn.modules.linear.Linear, and reading that would run code\. If you trust"
    )
    with pytest.raises(WeightsError, match=match):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.npz", "w"])
def test_safetensors_under_any_name(name, tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / name)
    content, notes = read_checkpoint(tmp_path / name)
    assert content["a"].tolist() == [1, 1]
    assert notes == [f"{name} holds safetensors"]


def test_torch_checkpoint_named_safetensors(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    content, notes = read_checkpoint(tmp_path / "w.safetensors")
    assert content["a"].tolist() == [1, 1]
    assert notes == ["w.safetensors holds a torch checkpoint"]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.npz"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102400\n",
            "a git-lfs pointer, not the file itself of 102400 bytes: fetch it with 'git lfs pull'",
        ),
        ("version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer, not the file its"),
        ("<!DOCTYPE html>\n<html><head>", "a web page, not weights: the download went to a page"),
        ("\n<html>", "a web page, not weights"),
    ],
)
def test_what_stands_in_for_a_file_is_named(name, content, match, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(WeightsError, match=rf"{name}: {match}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["w.npz", "w.onnx", "w.h5", "w"])
def test_other_formats(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=rf"{name}: expected a file named .safetensors, .pth"):
        read_checkpoint(tmp_path / name)


def test_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be read: No such file"):
        read_checkpoint(tmp_path / "w.pth")


def test_folder_named_like_a_file(tmp_path):
    (tmp_path / "w.pth").mkdir()
    with pytest.raises(WeightsError, match=r"cannot be read: Is a directory"):
        read_checkpoint(tmp_path / "w.pth")
