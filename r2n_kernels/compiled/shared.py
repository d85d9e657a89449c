"""Several processes see these tensors: in a file that each maps into its memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..bundle.ops import span

ALIGN = 256  # bytes: what a GPU's allocator gives at least


@dataclass(frozen=True)
class Place:
    """A Place is some bytes of a file."""

    path: str
    start: int
    size: int


class Shared:
    """Shared holds copies of tensors, strides kept, in a temporary file that goes with it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        number, self.path = tempfile.mkstemp(prefix="r2n-shared-")
        os.close(number)
        weakref.finalize(self, os.unlink, self.path)
        starts, top = {}, 0
        for name, tensor in tensors.items():
            starts[name] = top
            top += -(-_size(tensor) // ALIGN) * ALIGN
        self._bytes = torch.from_file(self.path, shared=True, size=max(top, 1), dtype=torch.uint8)
        self.tensors: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            flat = self._bytes[starts[name] : starts[name] + _size(tensor)].view(tensor.dtype)
            self.tensors[name] = flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)

    def place(self, tensor: Tensor) -> Place | None:
        """Return where a tensor lies; None where it is not one of these or a part of one."""
        start = tensor.data_ptr() - self._bytes.data_ptr()
        if not 0 <= start < len(self._bytes):
            return None
        return Place(self.path, start, _size(tensor))


def _size(tensor: Tensor) -> int:
    """Count the bytes from the first element to the end of the last one."""
    return span(tensor) * tensor.element_size()


@lru_cache(maxsize=8)
def _mapped(path: str) -> np.ndarray:
    return np.memmap(path, np.uint8, "r+")


def bytes_at(place: Place) -> np.ndarray:
    """Return the bytes, in any process; others see when they change."""
    return _mapped(place.path)[place.start : place.start + place.size]
