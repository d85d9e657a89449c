"""The Hub client against a server on loopback: it serves, stalls, lies and refuses."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time

import pytest
import torch
from safetensors.torch import save

from r2n_kernels.errors import HubError
from r2n_kernels.fold.quantization import Quantization, Range
from r2n_kernels.weights import load_weights, read_config
from r2n_kernels.weights.hub import FileAbsent, HubRepo, HubUnreachable, fetch
from r2n_kernels.weights.quantization_file import QUANTIZATION_NAME, STATED, write_quantization
from r2n_kernels.weights.sources import UNCLEAR

REPO = "timm/res2net50_26w_4s.in1k"
SOURCE = f"hf-hub:{REPO}"
CONFIG = {"architecture": "res2net50_26w_4s", "pretrained_cfg": {"license": "unknown"}}
NAME = "model.safetensors"


@pytest.fixture
def served(hub, state):
    hub.files[REPO, NAME] = save(state)
    hub.files[REPO, "config.json"] = json.dumps(CONFIG).encode()
    return hub


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def cached_blob(home):
    (path,) = home.rglob(f"snapshots/*/{NAME}")
    return path.resolve()


def test_serves(served, state, tiny, assert_same, caplog):
    caplog.set_level(logging.INFO, "r2n_kernels.weights")
    weights = load_weights(SOURCE, tiny)
    assert_same(weights.state, state)
    assert weights.sha256 == hashlib.sha256(served.files[REPO, NAME]).hexdigest()
    assert weights.config == CONFIG
    assert weights.license == UNCLEAR
    line = f"weights from {SOURCE}/{NAME}, sha256 {weights.sha256[:12]}, licence {UNCLEAR}"
    assert str(weights) == line
    assert line in caplog.messages


def test_a_quantization_is_fetched_where_config_tells_of_it(served, tiny, tmp_path):
    made = Quantization({"conv1": torch.ones(8)}, {"conv1:0": Range(0.0, 1.0, 256)}, "ab", "cd")
    write_quantization(tmp_path, made)
    served.files[REPO, "config.json"] = json.dumps({**CONFIG, **STATED}).encode()
    with pytest.raises(FileAbsent, match=QUANTIZATION_NAME):
        load_weights(SOURCE, tiny)
    served.files[REPO, QUANTIZATION_NAME] = (tmp_path / QUANTIZATION_NAME).read_bytes()
    assert load_weights(SOURCE, tiny).quantization.digest == made.digest


def test_no_other_repository_is_asked_for_a_quantization(served, tiny):
    assert load_weights(SOURCE, tiny).quantization is None
    assert not any(QUANTIZATION_NAME in request for request in served.requests)


def test_a_quantization_of_another_kind(served, tiny):
    stated = {**CONFIG, "quantization_config": "other"}
    served.files[REPO, "config.json"] = json.dumps(stated).encode()
    with pytest.raises(HubError, match="expected quant_method 'r2n-int8' or none, got 'other'"):
        load_weights(SOURCE, tiny)


@pytest.mark.parametrize("prefix", ["hf_hub:", "HF-HUB:", "Hf_Hub:"])
def test_prefix_in_any_case(prefix, served, state, tiny, assert_same):
    assert_same(load_weights(f"{prefix}{REPO}", tiny).state, state)
    assert read_config(f"{prefix}{REPO}") == CONFIG


def test_cache_dir_wins_over_the_environment(served, tiny, hub_home, tmp_path, monkeypatch):
    cache = tmp_path / "mine"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "unused"))
    load_weights(SOURCE, tiny, cache_dir=str(cache))
    assert read_config(SOURCE, str(cache)) == CONFIG
    found = {path.name for path in cache.rglob("snapshots/*/*")}
    assert found == {NAME, "config.json"}
    assert not (tmp_path / "unused").exists()
    assert not hub_home.exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_weights(SOURCE, tiny, cache_dir=str(cache))
    with pytest.raises(HubUnreachable, match="not in the cache"):
        load_weights(SOURCE, tiny)


def test_read_config_fetches_no_weights(served):
    assert read_config(SOURCE) == CONFIG
    assert not any(NAME in request for request in served.requests)


def test_read_config_is_none_where_there_is_none(served):
    del served.files[REPO, "config.json"]
    assert read_config(SOURCE) is None


def test_weights_without_config(served, tiny):
    del served.files[REPO, "config.json"]
    weights = load_weights(SOURCE, tiny)
    assert weights.config is None
    assert weights.license == UNCLEAR  # timm's own repository


def test_revision_and_cache(served, tiny):
    load_weights(f"{SOURCE}@v1", tiny)
    assert served.requests[f"GET {NAME}@v1"] == 1
    load_weights(f"{SOURCE}@v1", tiny)
    assert served.requests[f"GET {NAME}@v1"] == 1
    assert not any(request.endswith("@main") for request in served.requests)


def test_falls_back_to_pytorch_bin(served, state, tiny, tmp_path, assert_same):
    del served.files[REPO, NAME]
    torch.save(state, tmp_path / "x.bin")
    served.files[REPO, "pytorch_model.bin"] = (tmp_path / "x.bin").read_bytes()
    weights = load_weights(SOURCE, tiny)
    assert_same(weights.state, state)
    assert weights.source == f"{SOURCE}/pytorch_model.bin"


def test_no_weights_in_repository(served, tiny):
    del served.files[REPO, NAME]
    with pytest.raises(
        HubError, match=r"expected model.safetensors or .*pytorch_model.bin or .*, found n"
    ):
        load_weights(SOURCE, tiny)


def test_unknown_file(served):
    with pytest.raises(FileAbsent, match=r"nothing.bin is not in the repository at revision main"):
        fetch(HubRepo.parse(SOURCE), "nothing.bin")


def test_unknown_repository(served, tiny):
    with pytest.raises(HubError, match=r"hf-hub:a/b: model.safetensors: no repository .*/a/b"):
        load_weights("hf-hub:a/b", tiny)


def test_unknown_revision(served, tiny):
    with pytest.raises(HubError, match=r"@v9: model.safetensors: .* no revision 'v9'"):
        load_weights(f"{SOURCE}@v9", tiny)


def test_gated(served, tiny):
    served.modes[NAME] = "gated"
    with pytest.raises(HubError, match=r"access is gated: accept the terms at .* set HF_TOKEN"):
        load_weights(SOURCE, tiny)


@pytest.mark.parametrize("text", ["res2net", "a/b/c", "a/", "a/b@", "/b"])
def test_malformed_name(text, tiny):
    with pytest.raises(HubError, match=r"expected 'hf-hub:org/repo' or"):
        load_weights(f"hf-hub:{text}", tiny)


def test_name_that_the_hub_forbids(served, tiny):
    with pytest.raises(HubError, match=r"hf-hub:a/b c: model.safetensors"):
        load_weights("hf-hub:a/b c", tiny)


@pytest.mark.parametrize("mode", ["truncate", "short", "stall"])
def test_broken_body_leaves_nothing_in_the_cache(mode, served, tiny, hub_home):
    served.modes[NAME] = mode
    start = time.monotonic()
    with pytest.raises(HubError, match=rf"{NAME}: the download failed .*download it by hand"):
        load_weights(SOURCE, tiny)
    assert time.monotonic() - start < 20
    assert not list(hub_home.rglob(f"snapshots/*/{NAME}"))
    served.modes.clear()
    load_weights(SOURCE, tiny)


@pytest.mark.parametrize("mode", ["stall-head", "busy"])
def test_no_answer(mode, served, tiny):
    served.modes[NAME] = mode
    with pytest.raises(HubUnreachable, match=rf"{NAME} is not in the cache and the Hub cannot be"):
        load_weights(SOURCE, tiny)


def test_refused_connection(hub_home, closed_port, tiny, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", closed_port)
    with pytest.raises(HubError, match=r"the Hub cannot be reached \(.*\)\. Connect, or download"):
        load_weights(SOURCE, tiny)


def test_refused_connection_serves_from_the_cache(served, tiny, closed_port, monkeypatch, caplog):
    load_weights(SOURCE, tiny)
    monkeypatch.setenv("HF_ENDPOINT", closed_port)
    assert load_weights(SOURCE, tiny).config == CONFIG
    assert "the Hub cannot be reached, using the cached model.safetensors" in caplog.text


def test_cache_without_config_serves_when_unreachable(served, tiny, monkeypatch):
    fetch(HubRepo.parse(SOURCE), NAME)  # what timm leaves behind
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_weights(SOURCE, tiny).config is None
    with pytest.raises(HubUnreachable, match=r"config.json is not in the cache .*offline mode"):
        read_config(SOURCE)


def test_offline(served, tiny, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachable, match=r"offline mode is on"):
        load_weights(SOURCE, tiny)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    load_weights(SOURCE, tiny)
    seen = served.requests.total()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_weights(SOURCE, tiny)
    assert served.requests.total() == seen


@pytest.mark.parametrize("name", [NAME, "config.json"])
def test_wrong_hash(name, served, tiny):
    served.modes[name] = "wrong-hash"
    match = rf"{name} has \w+ ?\w* [0-9a-f]+, expected [0-9a-f]+; the bad copy is .*fetched twice"
    with pytest.raises(HubError, match=match):
        load_weights(SOURCE, tiny)
    assert served.requests[f"GET {name}@main"] == 2


def test_one_bad_download_is_repeated(served, state, tiny, assert_same):
    served.modes[NAME] = "once-bad"
    assert_same(load_weights(SOURCE, tiny).state, state)
    assert served.requests[f"GET {NAME}@main"] == 2


@pytest.mark.parametrize("poison", [lambda d: d[:-9], lambda d: d[:-1] + b"\x01"])
def test_poisoned_cache_heals_itself(poison, served, state, tiny, hub_home, assert_same, caplog):
    load_weights(SOURCE, tiny)
    blob = cached_blob(hub_home)
    blob.write_bytes(poison(blob.read_bytes()))
    assert_same(load_weights(SOURCE, tiny).state, state)
    assert "fetching it again" in caplog.text


def test_poisoned_cache_offline(served, tiny, hub_home, monkeypatch):
    load_weights(SOURCE, tiny)
    blob = cached_blob(hub_home)
    blob.write_bytes(blob.read_bytes()[:-9])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match=r"the bad copy is .*; run once with the Hub in reach"):
        load_weights(SOURCE, tiny)


def test_damaged_file_with_the_right_hash(served, tiny):
    served.files[REPO, NAME] = b"not weights at all"
    with pytest.raises(HubError, match=rf"{NAME} is unusable: .*damaged or not a safetensors"):
        load_weights(SOURCE, tiny)


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xfe"])
def test_damaged_config(text, served):
    served.files[REPO, "config.json"] = text
    with pytest.raises(HubError, match=r"config.json: (not valid JSON|expected a JSON object)"):
        read_config(SOURCE)


def test_portal_that_is_no_hub(served, tiny):
    served.modes[NAME] = "portal"
    with pytest.raises(HubError, match=r"X-Repo-Commit.*download it by hand"):
        load_weights(SOURCE, tiny)
