"""Tensors that are seldom read lie in a file, and take memory only while they are."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import ConfigError

ALIGNMENT = 64  # bytes
PAGE_OUT = getattr(mmap, "MADV_PAGEOUT", 21)  # Linux 5.4; Python names it from 3.13 on


class Mapped(NamedTuple):
    """A Mapped has tensors on a private mapping of a file without a name.

    They are as others: what is written to them stays in memory, and the file as it was.
    """

    tensors: dict[str, Tensor]
    memory: mmap.mmap

    def page_out(self) -> None:
        """Let the system take back what was read, and read it again when it is needed.

        Pages that were written to are kept. Older kernels and other systems do nothing.
        """
        if hasattr(self.memory, "madvise"):
            try:
                self.memory.madvise(PAGE_OUT)
            except OSError as error:  # the kernel does not know it: a wish, and no more
                if error.errno != errno.EINVAL:
                    raise


def mapped(tensors: Mapping[str, Tensor]) -> Mapped:
    """Copy tensors of the CPU into a file in the folder for temporary ones ($TMPDIR).

    Raises ConfigError where it cannot be written there.
    """
    places, end = _places(tensors.values())
    try:
        memory = _written(tensors.values(), places, end)
    except OSError as error:
        where = tempfile.tempdir or os.environ.get("TMPDIR") or "the folder for temporary files"
        raise ConfigError(f"low_memory: {where} must take {end / 1e6:.0f} MB: {error}") from error
    return Mapped(
        {
            name: torch.frombuffer(
                memory, dtype=tensor.dtype, count=tensor.numel(), offset=place
            ).view(tensor.shape)
            if tensor.numel()
            else tensor.clone()
            for (name, tensor), place in zip(tensors.items(), places, strict=True)
        },
        memory,
    )


def _written(tensors: Iterable[Tensor], places: Sequence[int], end: int) -> mmap.mmap:
    """Write tensors at their places of a file, and return its mapping."""
    with tempfile.TemporaryFile() as file:  # it has no name, and goes with its mapping
        for tensor, place in zip(tensors, places, strict=True):
            file.seek(place)
            file.write(_bytes(tensor).numpy().data)
        file.truncate(end)
        file.flush()
        return mmap.mmap(file.fileno(), end, access=mmap.ACCESS_COPY)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _places(tensors: Iterable[Tensor]) -> tuple[list[int], int]:
    """Return where each tensor begins, in bytes, and the end of the file."""
    places, end = [], 0
    for tensor in tensors:
        places.append(end)
        end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    return places, max(end, ALIGNMENT)
