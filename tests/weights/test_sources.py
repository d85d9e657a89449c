"""Where weights come from, and on what terms: folders, files, and what is said of them."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights import load_weights, read_config, sources
from r2n_kernels.weights.sources import NOT_STATED, UNCLEAR, Weights, hash_tensors, license_of


@pytest.mark.parametrize(
    ("config", "repo", "expected"),
    [
        (None, None, NOT_STATED),
        ({}, "me/mine", NOT_STATED),
        (None, "timm/res2next50.in1k", UNCLEAR),
        ({"license": "unknown"}, None, UNCLEAR),  # the flat format
        ({"pretrained_cfg": {"license": "unknown"}}, "timm/res2net50d.in1k", UNCLEAR),
        ({"pretrained_cfg": {"license": "apache-2.0"}}, "timm/res2net50d.in1k", "apache-2.0"),
        ({"pretrained_cfg": None, "license": "mit"}, None, "mit"),
        ({"license": "a\n\x1b[2J"}, None, r"a\n\x1b[2J"),
        ({"license": ["x"] * 999}, None, str(["x"] * 999)[:200]),
    ],
)
def test_license(config, repo, expected):
    assert license_of(config, repo) == expected


def test_description_is_one_line():
    digest = "0123" * 16
    weights = Weights({}, "a\nb.pth", digest, "m\x1b[2Jit", notes=("one", "t\r\u2028wo"))
    line = r"weights from a\nb.pth, sha256 012301230123, licence m\x1b[2Jit; one; t\r\u2028wo"
    assert str(weights) == line


def test_tensors_are_hashed_when_asked_for_and_once(monkeypatch):
    calls = []
    monkeypatch.setattr(sources, "hash_tensors", lambda state: calls.append(state) or "ab" * 32)
    weights = Weights({"a": torch.zeros(2)}, "memory", None)
    assert not calls
    assert weights.sha256 == weights.sha256 == "ab" * 32
    assert calls == [weights.state]
    assert Weights(weights.state, "file", "cd" * 32).sha256 == "cd" * 32
    assert len(calls) == 1


def test_hash_covers_names_types_shapes_and_values():
    states = [
        {"a": torch.zeros(2)},
        {"b": torch.zeros(2)},
        {"a": torch.zeros(2, dtype=torch.int32)},
        {"a": torch.zeros(2, 1)},
        {"a": torch.ones(2)},
        {"a": torch.tensor(0)},
        {"a": torch.zeros(2, dtype=torch.bfloat16)},
    ]
    assert len({hash_tensors(state) for state in states}) == len(states)
    base = torch.arange(6.0).reshape(2, 3)
    assert hash_tensors({"a": base.t()}) == hash_tensors({"a": base.t().contiguous()})


@pytest.mark.parametrize("where", ["path", "string", "local-dir"])
def test_folder(where, state, tiny, tmp_path, assert_same):
    save_file(state, tmp_path / "model.safetensors")
    torch.save({}, tmp_path / "pytorch_model.bin")  # comes second
    config = {"architecture": "x", "pretrained_cfg": {"license": "mit"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = {"path": tmp_path, "string": str(tmp_path), "local-dir": f"local-dir:{tmp_path}"}[
        where
    ]
    weights = load_weights(source, tiny)
    assert_same(weights.state, state)
    assert (weights.config, weights.license) == (config, "mit")
    assert read_config(source) == config


def test_folder_with_one_other_file(state, tiny, tmp_path):
    torch.save(state, tmp_path / "last.ckpt")
    assert load_weights(tmp_path, tiny).source == str(tmp_path / "last.ckpt")
    assert read_config(tmp_path) is None


@pytest.mark.parametrize("names", [[], ["a.pth", "b.pth"]])
def test_folder_without_a_clear_choice(names, tiny, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=f"found {', '.join(names) or 'none'}. Name the file"):
        load_weights(tmp_path, tiny)


def test_folder_with_a_damaged_config(tiny, state, tmp_path):
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config.json: not valid JSON"):
        load_weights(tmp_path, tiny)


def test_config_beside_a_file_counts_if_it_names_an_architecture(state, tiny, tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    beside = tmp_path / "config.json"
    beside.write_text('{"architecture": "res2net50d"}')
    assert read_config(path) == {"architecture": "res2net50d"}
    beside.write_text('{"theme": "dark"}')
    assert read_config(path) is None
    caplog.set_level(logging.INFO, "r2n_kernels.weights")
    beside.write_text("theme = dark")
    assert load_weights(path, tiny).config is None
    assert "config.json is ignored: " in caplog.text


def test_missing_path(tiny):
    with pytest.raises(
        WeightsError, match=r"no-such/thing: no such file .* 'hf-hub:no-such/thing'"
    ):
        load_weights("no-such/thing", tiny)
    with pytest.raises(WeightsError, match=r"no such file or folder"):
        read_config("local-dir:/no/such")


def test_local_dir_that_is_a_file(tiny, tmp_path):
    (tmp_path / "w.pth").touch()
    with pytest.raises(WeightsError, match=r"w.pth: expected a folder, found a file"):
        load_weights(f"local-dir:{tmp_path / 'w.pth'}", tiny)


@pytest.mark.parametrize("source", [None, 3, [1]])
def test_other_sources_are_refused(source, tiny):
    with pytest.raises(WeightsError, match=f"a state dict, got {type(source).__name__}"):
        load_weights(source, tiny)
