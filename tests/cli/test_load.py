from __future__ import annotations

import argparse
import socket
import time

import pytest
import torch

from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.cli.load import cpu_threads, model_from, precision_from
from r2n_kernels.errors import ConfigError, HubError, UnknownModelError, WeightsError


def arguments(model="res2net50d", weights=None, **changes):
    values = {"dtype": "float32", "device": "cpu", "backend": "auto", **changes}
    return argparse.Namespace(model=model, weights=weights, **values)


def test_folder(tiny):
    model = model_from(arguments(f"local-dir:{tiny}", dtype="bfloat16"))
    assert (model.num_classes, model.dtype) == (5, torch.bfloat16)


def test_weights_of_a_named_model(tiny):
    model = model_from(arguments("res2net50_26w_4s", str(tiny / "model.safetensors")))
    assert model.pretrained_cfg["tag"] == "tiny"


def test_digits_by_their_short_name():
    model = model_from(arguments("digits"))
    assert (model.config.in_chans, model.num_classes) == (1, 10)
    assert model_from(arguments(f"local-dir:{DIGITS}")).config == model.config


def test_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownModelError, match=r"unknown model 'res2net51'; nearest: res2n"):
        model_from(arguments("res2net51"))


def test_path_in_place_of_a_name(tiny):
    with pytest.raises(ConfigError, match=rf"for a folder write --model local-dir:{tiny}"):
        model_from(arguments(str(tiny)))


def test_weights_of_another_architecture(tiny):
    with pytest.raises(ConfigError, match=r"holds a 'res2net50_26w_4s', expected a 'res2net50d'"):
        model_from(arguments("res2net50d", str(tiny)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"", "is empty"), (b"junk" * 20, "damaged or not a safetensors")],
)
def test_weights_missing_or_damaged(tmp_path, content, reason):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        model_from(arguments(weights=str(path)))


@pytest.mark.parametrize("offline", [True, False], ids=["offline mode", "no answer"])
def test_hub_out_of_reach(tmp_path, monkeypatch, offline):
    pytest.importorskip("huggingface_hub")
    with socket.socket() as unused:  # a port where nobody listens
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    start = time.monotonic()
    with pytest.raises(
        HubError, match=r"by hand from .*pass its path \(--weights PATH\)$"
    ) as error:
        model_from(arguments())
    assert time.monotonic() - start < 10
    assert "\n" not in str(error.value)


def test_precision():
    assert precision_from("float32", "cpu") == (torch.float32, torch.device("cpu"))
    assert precision_from("bfloat16", "cpu") == (torch.bfloat16, torch.device("cpu"))


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"float16 needs a GPU; on the CPU use .* bfloat16"):
        precision_from("float16", "cpu")
    interpreted = precision_from("float16", "cpu", "triton")
    assert interpreted == (torch.float16, torch.device("cpu"))


@pytest.mark.parametrize("text", ["foo", "meta", "", "cuda:x", "cuda:-1"])
def test_device_that_is_none(text):
    with pytest.raises(ConfigError, match=r"--device: expected cpu, cuda or cuda:N, got"):
        precision_from("float32", text)


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ("cuda", 0, "--device cuda: torch finds no CUDA GPU"),
        ("cuda:3", 0, "--device cuda:3: torch finds no CUDA GPU"),
        ("cuda:2", 2, "--device cuda:2: torch finds 2 CUDA GPU"),
    ],
)
def test_gpu_that_is_not_there(monkeypatch, text, count, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=reason):
        precision_from("float32", text)


def test_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = precision_from("float16", "cuda:1")
    assert found == (torch.float16, torch.device("cuda:1"))


def test_threads_of_the_cpu_come_back():
    before = torch.get_num_threads()
    with cpu_threads(before + 1) as count:
        assert count == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with cpu_threads(None) as count:
        assert count == torch.get_num_threads() == before
