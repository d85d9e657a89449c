"""Damaged and hostile checkpoint files; shards, as huggingface_hub splits them."""

from __future__ import annotations

import json
import os
import pickle
import random
from datetime import date

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from r2n_kernels.errors import HubError, WeightsError
from r2n_kernels.weights import load_weights
from r2n_kernels.weights.files import read_checkpoint, shards_of


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


REPO = "me/mine"


def split(state, folder, stem="model", suffix=".safetensors"):
    """Two shards or more and their index; returns the index."""
    plan = split_torch_state_dict_into_shards(
        state, filename_pattern=f"{stem}{{suffix}}{suffix}", max_shard_size=60_000
    )
    assert len(plan.filename_to_tensors) > 2
    for name, tensors in plan.filename_to_tensors.items():
        shard = {tensor: state[tensor] for tensor in tensors}
        (save_file if suffix == ".safetensors" else torch.save)(shard, folder / name)
    index = folder / f"{stem}{suffix}.index.json"
    table = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
    index.write_text(json.dumps(table))
    return index


FORMS = pytest.mark.parametrize(
    ("stem", "suffix"),
    [("model", ".safetensors"), ("pytorch_model", ".bin"), ("other", ".safetensors")],
)


@FORMS
def test_folder_and_index(stem, suffix, state, tiny, tmp_path, assert_same):
    index = split(state, tmp_path, stem, suffix)
    count = len(shards_of(index))
    for source in (tmp_path, index, f"local-dir:{tmp_path}"):
        weights = load_weights(source, tiny)
        assert_same(weights.state, state)
        assert weights.source == str(index)
        assert weights.notes == (f"from {count} shards",)
    assert weights.sha256 == load_weights(state, tiny).sha256  # of the tensors


@pytest.mark.parametrize("whole", ["model.safetensors", "pytorch_model.bin"])
def test_one_safetensors_wins_and_shards_of_them_win_over_a_bin(whole, state, tiny, tmp_path):
    index = split(state, tmp_path)
    (save_file if whole.endswith("tensors") else torch.save)(state, tmp_path / whole)
    found = load_weights(tmp_path, tiny).source
    assert found == str(tmp_path / whole if whole == "model.safetensors" else index)


def test_all_missing_shards_are_named(state, tiny, tmp_path):
    index = split(state, tmp_path)
    first, second, *others = shards_of(index)
    for name in (first, second):
        (tmp_path / name).unlink()
    match = rf"index.json: 2 of {len(others) + 2} shards missing: {first}, {second}$"
    with pytest.raises(WeightsError, match=match):
        load_weights(tmp_path, tiny)


def test_shards_of_another_split_are_refused(state, tiny, tmp_path):
    index = split(state, tmp_path)
    first, second, *_ = shards_of(index)
    os.replace(tmp_path / first, tmp_path / second)
    save_file({"strange": torch.ones(1)}, tmp_path / first)
    match = rf"not those of the index: conv1.weight is not in {first}, .* and \d+ more"
    with pytest.raises(WeightsError, match=match):
        load_weights(tmp_path, tiny)


def test_tensor_that_the_index_does_not_know(state, tiny, tmp_path):
    index = split(state, tmp_path)
    table = json.loads(index.read_text())
    shard = table["weight_map"].pop("fc.bias")
    index.write_text(json.dumps(table))
    with pytest.raises(WeightsError, match=rf"fc.bias of {shard} is not in the index"):
        load_weights(tmp_path, tiny)


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ({}, "expected an object 'weight_map'"),
        ({"weight_map": {}}, "expected an object 'weight_map'"),
        ({"weight_map": [1]}, "expected an object 'weight_map'"),
        ([], "expected a JSON object"),
        ({"weight_map": {"a": "../w.pth"}}, r"a file beside it, .* for a, got '../w.pth'"),
        ({"weight_map": {"a": "C:\\w.pth"}}, r"a file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, r"a file beside it"),
        ({"weight_map": {"a": "config.json"}}, r"a file beside it"),
        ({"weight_map": {"a\n": 3}}, r"for a\\n, got 3"),
        ({"weight_map": {"a": "nothing.pth"}}, r"1 of 1 shard missing: nothing.pth"),
    ],
)
def test_malformed_index(index, match, tiny, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=f"index.json: .*{match}"):
        load_weights(tmp_path, tiny)


def test_all_shards_that_cannot_be_read_are_named(state, tiny, tmp_path):
    """As git leaves them where git-lfs is not installed."""
    index = split(state, tmp_path)
    first, second, *_ = shards_of(index)
    for name in (first, second):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 7\n")
    match = rf"2 of \d shards cannot be read: .*{first}: a git-lfs .*{second}: a git-lfs pointer"
    with pytest.raises(WeightsError, match=match):
        load_weights(tmp_path, tiny)


def test_shard_without_names(tiny, tmp_path):
    torch.save([1], tmp_path / "a.bin")
    (tmp_path / "x.index.json").write_text('{"weight_map": {"a": "a.bin"}}')
    with pytest.raises(WeightsError, match=r"a.bin: expected named tensors, found list"):
        load_weights(tmp_path, tiny)


@FORMS
def test_hub(stem, suffix, state, tiny, tmp_path, hub, assert_same):
    index = split(state, tmp_path, stem, suffix)
    hub.files = {(REPO, path.name): path.read_bytes() for path in tmp_path.iterdir()
                 if path.is_file()}  # fmt: skip
    if stem == "other":
        with pytest.raises(HubError, match=r"expected model.safetensors or"):
            load_weights(f"hf-hub:{REPO}", tiny)
        return
    weights = load_weights(f"hf-hub:{REPO}", tiny)
    assert_same(weights.state, state)
    assert weights.source == f"hf-hub:{REPO}/{index.name}"


def test_hub_without_some_shards(state, tiny, tmp_path, hub):
    index = split(state, tmp_path)
    hub.files = {(REPO, path.name): path.read_bytes() for path in tmp_path.iterdir()
                 if path.is_file()}  # fmt: skip
    first, second, *_ = shards_of(index)
    del hub.files[REPO, first], hub.files[REPO, second]
    match = rf"mine: {first} is not in the repository .*; .*mine: {second} is not in the repo"
    with pytest.raises(HubError, match=match):
        load_weights(f"hf-hub:{REPO}", tiny)
