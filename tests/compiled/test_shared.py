from __future__ import annotations

import gc
from pathlib import Path

import torch

from r2n_kernels.compiled.shared import Place, Shared, bytes_at


def test_copies_keep_values_and_strides():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    given = {"x": x, "half": torch.randn(7).half(), "none": torch.empty(0)}
    shared = Shared(given)
    for name, tensor in given.items():
        copy = shared.tensors[name]
        assert torch.equal(copy, tensor)
        assert copy.stride() == tensor.stride()
        assert copy.data_ptr() != tensor.data_ptr() or not tensor.numel()
    assert shared.tensors["half"].data_ptr() % 256 == shared.tensors["x"].data_ptr() % 256


def test_places_are_seen_through_the_file():
    shared = Shared({"a": torch.arange(4, dtype=torch.int32), "b": torch.zeros(3)})
    place = shared.place(shared.tensors["a"][1:])
    assert place == Place(shared.path, 4, 12)
    seen = bytes_at(place).view("int32")
    assert seen.tolist() == [1, 2, 3]
    seen[0] = 9
    assert shared.tensors["a"].tolist() == [0, 9, 2, 3]
    assert shared.place(torch.zeros(3)) is None


def test_the_file_goes_with_the_object():
    shared = Shared({"a": torch.zeros(3)})
    path = Path(shared.path)
    assert path.exists()
    del shared
    gc.collect()
    assert not path.exists()
