from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import MapWriter


def test_round_trip(tmp_path):
    path = tmp_path / "maps.safetensors"
    maps = {
        "a": torch.randn(1, 3, 4, 5).to(memory_format=torch.channels_last),
        "b": torch.randn(1, 2, 1, 1, dtype=torch.bfloat16),
    }
    with MapWriter(path) as writer:
        writer.write(maps)
    found = load_file(path)
    assert list(found) == list(maps)
    for name, value in maps.items():
        torch.testing.assert_close(found[name], value.contiguous(), rtol=0, atol=0)


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), MapWriter(tmp_path / "maps.safetensors"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"its suffix must be one of \.safetensors"):
        MapWriter("maps.npz")
    image = tmp_path / "image.safetensors"
    image.touch()
    with pytest.raises(ConfigError, match="it is one of the inputs"):
        MapWriter(image, [image])
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ConfigError, match="a stream takes no feature maps"):
        MapWriter(tmp_path / "pipe.safetensors")
