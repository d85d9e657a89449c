"""What the modules of a network were at one time, and whether they still are that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn

# What decides, beside its tensors, what a part of a Res2Net computes.
_ATTRIBUTES = (
    "stride", "padding", "dilation", "groups", "padding_mode", "kernel_size", "eps", "training",
    "ceil_mode", "count_include_pad", "divisor_override", "pool_type", "width", "scale", "is_first",
    "forward",
)  # fmt: skip
_COUNTERS = "num_batches_tracked"  # which no inference reads
_version, _shape = attrgetter("_version"), attrgetter("shape")

Tables = Sequence[dict[str, Any]]


class Snapshot:
    """Sees other modules, tensors and attributes, and every write that PyTorch counts.

    Of writes that it does not count (through `tensor.data`, by fused optimizers, NumPy, another
    process), those on the CPU that reach a tensor's first or last value. A look takes 0.5 ms for a
    Res2Net-101.
    """

    def __init__(self, root: nn.Module, names: Iterable[str]) -> None:
        """Of the children of `root` with these names, and all below them."""
        names = tuple(names)
        self._modules = modules_of(root, names)
        self._dicts = tuple(map(vars, self._modules))
        tables = [t for m in self._modules for t in (m._parameters, m._buffers, m._modules)]
        slots = [(root._modules, name) for name in names]
        slots += [(table, key) for table in tables for key in table if key != _COUNTERS]
        slots += [(own, key) for own in self._dicts for key in _ATTRIBUTES if key in own]
        self._tensor_slots = tuple(s for s in slots if isinstance(dict.get(*s), Tensor))
        self._other_slots = tuple(s for s in slots if not isinstance(dict.get(*s), Tensor))
        self._tables = (*tables, *self._dicts)
        self._tensors = _values(self._tensor_slots)
        self._kinds = self._others()
        # PyTorch does not count the writes to tensors that were made in inference mode
        self._counted = not any(t.is_inference() for t in self._tensors)
        # aliases: memory that is not freed is not given to another tensor
        self._aliases = tuple(t.detach() for t in self._tensors)
        self._places = self._where() if self._counted else ()
        self._ends = _ends(self._aliases)
        self._samples = _sampled(self._ends)

    def holds(self) -> bool:
        """Whether nothing changed."""
        return (
            self.holds_but_for_tensors()
            and all(map(is_, _values(self._tensor_slots), self._tensors))
            and _sampled(self._ends) == self._samples
        )

    def holds_but_for_tensors(self) -> bool:
        """Whether nothing changed but that tensors may have been replaced by others."""
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
        """Of the tensors: how often each was written, where it is, and what it makes of it."""
        tensors = self._tensors
        return (
            tuple(map(_version, tensors)),
            tuple(map(Tensor.data_ptr, tensors)),
            # torch.jit.trace makes tensors of sizes; what a view has changed is not seen there
            () if torch.jit.is_tracing() else tuple(map(_shape, tensors)),
            () if torch.jit.is_tracing() else tuple(map(Tensor.stride, tensors)),
        )


def _values(slots: Sequence[tuple[dict[str, Any], str]]) -> tuple[Any, ...]:
    return tuple(map(dict.get, *zip(*slots, strict=True))) if slots else ()


def _ends(tensors: Iterable[Tensor]) -> tuple[tuple[Tensor, ...], ...]:
    """Views [2] of the first and last value of each on the CPU, for each dtype."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.device.type == "cpu" and tensor.numel():
            last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            ends = tensor.as_strided((2,), (last,), tensor.storage_offset())
            groups.setdefault(tensor.dtype, []).append(ends)
    return tuple(map(tuple, groups.values()))


def _sampled(ends: tuple[tuple[Tensor, ...], ...]) -> list[bytes]:
    return [torch.cat(group).view(torch.uint8).numpy().tobytes() for group in ends]


def modules_of(root: nn.Module, names: Iterable[str]) -> tuple[nn.Module, ...]:
    """Those children of `root` that are there, and all modules below them."""
    children = (root._modules.get(name) for name in names)
    return tuple(m for child in children if child is not None for m in child.modules())
