"""A snapshot knows what the modules of a network were, and whether they still are that."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn

from ..weights import DECISIVE

# What decides, beside its tensors, what a part of a network computes.
_ATTRIBUTES = frozenset({"training", "forward", "pool_type"}.union(*DECISIVE.values()))
Table = dict[str, Any]  # of a module: its parameters, buffers, children, or all that it has
_COUNTERS = "num_batches_tracked"  # which no inference reads
_version, _shape = attrgetter("_version"), attrgetter("shape")


class Snapshot:
    """It sees other modules, tensors and attributes, and every write that PyTorch counts.

    Writes that are not counted (through `tensor.data`, by fused optimizers, NumPy, another process)
    it sees on the CPU where they reach a tensor's first or last value. A look takes 0.5 ms for a
    Res2Net-101.
    """

    def __init__(self, root: nn.Module, names: Iterable[str]) -> None:
        """Look at the children of `root` with these names, and all below them."""
        names = tuple(names)
        self._modules = modules_of(root, names)
        self._dicts = tuple(map(vars, self._modules))
        tables: list[Table] = [
            t for m in self._modules for t in (m._parameters, m._buffers, m._modules)
        ]
        slots: list[tuple[Table, str]] = [(root._modules, name) for name in names]
        slots += [(table, key) for table in tables for key in table if key != _COUNTERS]
        slots += [(own, key) for own in self._dicts for key in _ATTRIBUTES if key in own]
        self._tensor_slots = _columns(s for s in slots if isinstance(dict.get(*s), Tensor))
        self._other_slots = _columns(s for s in slots if not isinstance(dict.get(*s), Tensor))
        self._tables = (*tables, *self._dicts)
        self._tensors = _values(self._tensor_slots)
        self._kinds = self._others()
        # PyTorch does not count the writes to tensors that were made in inference mode
        self._counted = not any(t.is_inference() for t in self._tensors)
        # aliases: memory that is not freed is not given to another tensor
        self._aliases = tuple(t.detach() for t in self._tensors)
        self._places = self._where() if self._counted else ()
        self._ends = _ends(self._aliases)
        self._samples = b"".join(self._ends)

    def holds(self) -> bool:
        """Return whether nothing changed."""
        return (
            self.holds_but_for_tensors()
            and all(map(is_, _values(self._tensor_slots), self._tensors))
            and b"".join(self._ends) == self._samples
        )

    def holds_but_for_tensors(self) -> bool:
        """Return whether nothing changed but that tensors may have been replaced by others."""
        if not self._counted or self._others() != self._kinds:
            return False
        return all(now in ((), then) for now, then in zip(self._where(), self._places, strict=True))

    def _others(self) -> tuple[Any, ...]:
        return (
            tuple(map(type, self._modules)),
            tuple(map(len, self._tables)),
            tuple(map(dict.__contains__, self._dicts, repeat("forward"))),
            _values(self._other_slots),
        )

    def _where(self) -> tuple[Any, ...]:
        """Return how often each tensor was written, where it is, and how it views its memory."""
        tensors = self._tensors
        return (
            tuple(map(_version, tensors)),
            tuple(map(Tensor.data_ptr, tensors)),
            # torch.jit.trace makes tensors of sizes; what a view has changed is not seen there
            () if torch.jit.is_tracing() else tuple(map(_shape, tensors)),
            () if torch.jit.is_tracing() else tuple(map(Tensor.stride, tensors)),
        )


Slots = tuple[tuple[Table, ...], tuple[str, ...]]


def _columns(slots: Iterable[tuple[Table, str]]) -> Slots:
    pairs = tuple(slots)
    return tuple(table for table, _ in pairs), tuple(key for _, key in pairs)


def _values(slots: Slots) -> tuple[Any, ...]:
    return tuple(map(dict.get, *slots))


def _ends(tensors: Iterable[Tensor]) -> tuple[memoryview, ...]:
    """Return the memory of the first and the last value of each that is on the CPU."""
    views = []
    for tensor in tensors:
        if tensor.device.type == "cpu" and tensor.numel():
            strides = zip(tensor.shape, tensor.stride(), strict=True)
            first = tensor.storage_offset()
            for place in (first, first + sum((n - 1) * s for n, s in strides)):
                value = tensor.as_strided((1,), (1,), place)
                views.append(value.view(torch.uint8).numpy().data)
    return tuple(views)


def modules_of(root: nn.Module, names: Iterable[str]) -> tuple[nn.Module, ...]:
    """Return those children of `root` that are there, and all modules below them."""
    children = (root._modules.get(name) for name in names)
    return tuple(m for child in children if child is not None for m in child.modules())
