from __future__ import annotations

import argparse
import socket
import time

import pytest
import torch

from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.cli.load import model_from
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
