from __future__ import annotations

import argparse

import pytest
import torch

from r2n_kernels.cli.options import image_size, positive, precision_from
from r2n_kernels.errors import ConfigError


def arguments(dtype="float32", device="cpu", backend="auto"):
    return argparse.Namespace(dtype=dtype, device=device, backend=backend)


def test_positive():
    assert positive("12") == 12
    for text in ("0", "-3", "x", "1.5", "", "1_0", " 1", "²"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"of at least 1, got '{text}'"):
            positive(text)


def test_image_size():
    assert image_size("224") == (224, 224)
    assert image_size("160x192") == (160, 192)
    for text in ("abc", "32x", "x32", "32x32x32", "-64", "", "6４"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"expected PX or HxW"):
            image_size(text)
    for text in ("16", "0", "31x224", "224x31"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"at least 32x32"):
            image_size(text)


def test_precision():
    assert precision_from(arguments()) == (torch.float32, torch.device("cpu"))
    assert precision_from(arguments("bfloat16")) == (torch.bfloat16, torch.device("cpu"))


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"float16 needs a GPU; on the CPU use .* bfloat16"):
        precision_from(arguments("float16"))
    interpreted = precision_from(arguments("float16", backend="triton"))
    assert interpreted == (torch.float16, torch.device("cpu"))


@pytest.mark.parametrize("text", ["foo", "meta", "", "cuda:x", "cuda:-1"])
def test_device_that_is_none(text):
    with pytest.raises(ConfigError, match=r"--device: expected cpu, cuda or cuda:N, got"):
        precision_from(arguments(device=text))


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
        precision_from(arguments(device=text))


def test_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = precision_from(arguments("float16", "cuda:1"))
    assert found == (torch.float16, torch.device("cuda:1"))
