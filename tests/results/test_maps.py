from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import map_writer


def test_round_trip(tmp_path):
    path = tmp_path / "maps.safetensors"
    maps = {
        "a": torch.randn(1, 3, 4, 5).to(memory_format=torch.channels_last),
        "b": torch.randn(1, 2, 1, 1, dtype=torch.bfloat16),
    }
    with map_writer(path) as write:
        write(maps)
    found = load_file(path)
    assert list(found) == list(maps)
    for name, value in maps.items():
        torch.testing.assert_close(found[name], value.contiguous(), rtol=0, atol=0)


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), map_writer(tmp_path / "maps.safetensors"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_refused(tmp_path):
    image = tmp_path / "image.safetensors"
    image.touch()
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path, reason in (
        ("maps.npz", r"its suffix must be one of \.safetensors"),
        (image, "it is one of the inputs"),
        (tmp_path / "pipe.safetensors", "a stream takes no feature maps"),
    ):
        with pytest.raises(ConfigError, match=reason), map_writer(path, [image]):
            pass
