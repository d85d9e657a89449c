"""Weights in several files, as huggingface_hub splits them."""

from __future__ import annotations

import json
import os

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file

from r2n_kernels.errors import HubError, WeightsError
from r2n_kernels.weights import load_weights
from r2n_kernels.weights.shards import shards_of

REPO = "me/mine"


@pytest.fixture
def state(make_state, tiny):
    return make_state(tiny)


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
