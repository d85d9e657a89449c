"""What the modules of a network were at one time, and whether they still are that."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter, is_
from typing import Any

from torch import Tensor, nn

# What decides, beside its weights, what a layer of a Res2Net computes.
_ATTRIBUTES = (
    "stride", "padding", "dilation", "groups", "padding_mode", "kernel_size", "eps", "training",
    "ceil_mode", "count_include_pad", "divisor_override", "pool_type",
)  # fmt: skip
_version = attrgetter("_version")


class Snapshot:
    """Sees other modules, tensors and attributes, and every write that PyTorch counts.

    Not seen: a write through `tensor.data` or through another view of the memory (NumPy's), which
    PyTorch does not count. A look takes 0.3 ms for a Res2Net-101.
    """

    def __init__(self, root: nn.Module, names: Iterable[str]) -> None:
        """Of the children of `root` with these names, and all below them."""
        names = tuple(names)
        modules = modules_of(root, names)
        tables: list[dict[str, Any]] = [
            table for m in modules for table in (m._parameters, m._buffers, m._modules)
        ]
        slots = [(root._modules, name) for name in names]
        slots += [(table, key) for table in tables for key in table]
        slots += [(vars(m), key) for m in modules for key in _ATTRIBUTES if key in vars(m)]
        self._tables = (*tables, *map(vars, modules))  # a `forward` of its own makes one longer
        self._sizes = tuple(map(len, self._tables))
        tensors = [slot for slot in slots if isinstance(dict.get(*slot), Tensor)]
        others = [slot for slot in slots if not isinstance(dict.get(*slot), Tensor)]
        self._others, self._slots = _values(others), _values(tensors)
        self._tensors = self._slots[2]
        # PyTorch does not count the writes to tensors that were made in inference mode
        self._counted = not any(t.is_inference() for t in self._tensors)
        self._versions = tuple(map(_version, self._tensors)) if self._counted else ()
        self._places = tuple(map(Tensor.data_ptr, self._tensors))

    def holds(self) -> bool:
        """Whether nothing changed."""
        holders, keys, tensors = self._slots
        return self.holds_but_for_tensors() and all(map(is_, map(dict.get, holders, keys), tensors))

    def holds_but_for_tensors(self) -> bool:
        """Whether nothing changed but that tensors may have been replaced by others."""
        return (
            self._counted
            and tuple(map(len, self._tables)) == self._sizes
            and tuple(map(dict.get, *self._others[:2])) == self._others[2]
            and tuple(map(_version, self._tensors)) == self._versions
            and tuple(map(Tensor.data_ptr, self._tensors)) == self._places
        )


Slots = tuple[tuple[dict[str, Any], ...], tuple[str, ...], tuple[Any, ...]]


def _values(slots: list[tuple[dict[str, Any], str]]) -> Slots:
    holders, keys = zip(*slots, strict=True) if slots else ((), ())
    return holders, keys, tuple(map(dict.get, holders, keys))


def modules_of(root: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """Those children of `root` that are there, and all modules below them."""
    children = (root._modules.get(name) for name in names)
    return [m for child in children if child is not None for m in child.modules()]


def hook_tables(modules: Iterable[nn.Module]) -> tuple[dict[int, Any], ...]:
    """Their forward hooks and pre-hooks, as live tables: empty where there are none."""
    return tuple(t for m in modules for t in (m._forward_hooks, m._forward_pre_hooks))
