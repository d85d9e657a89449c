"""Memory that nobody has written is what `torch.empty` returns, until something may write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from ..arrays import bytes_of
from ..tensormaps import TensorMap

MAKERS = (
    "empty",
    "empty_like",
    "empty_strided",
    "empty_permuted",
    "new_empty",
    "new_empty_strided",
)
# What neither writes a tensor's memory nor hands it out; whatever else gets a tensor may write it
HARMLESS = frozenset(
    (
        *MAKERS, "__get__", "size", "stride", "dim", "numel", "element_size", "data_ptr", "shape",
        "storage_offset", "is_contiguous", "is_floating_point", "is_complex", "get_device",
        "nelement", "view", "reshape", "__getitem__", "t", "transpose", "permute", "unsqueeze",
        "squeeze", "flatten", "detach", "select", "narrow", "expand", "unbind", "chunk", "split",
        "__len__", "untyped_storage", "requires_grad_", "zeros_like", "ones_like", "__hash__",
        "__bool__",
    )
)  # fmt: skip


class Blanks:
    """Blanks know which bytes of storages nobody has written. Only launches clear single bytes."""

    def __init__(self) -> None:
        self._masks: dict[int, tuple[StorageWeakRef, np.ndarray]] = {}

    def mark(self, tensor: torch.Tensor) -> None:
        """Take a fresh tensor for unwritten, and fill it with NaNs, in integers -1."""
        if tensor.device.type != "cpu" or tensor.layout != torch.strided or not tensor.numel():
            return
        storage = tensor.untyped_storage()
        data, _ = bytes_of(tensor)
        data[:] = 0xFF
        mask = np.ones(storage.nbytes(), np.bool_)
        self._masks[storage.data_ptr()] = StorageWeakRef(storage), mask
        if len(self._masks) > 256:
            self._masks = {at: kept for at, kept in self._masks.items() if not kept[0].expired()}

    def forget(self, values: Any) -> None:
        """Take every tensor among some arguments for written."""
        if not self._masks:
            return
        for value in values:
            if isinstance(value, torch.Tensor):
                if value.layout == torch.strided and value.device.type == "cpu":
                    self._masks.pop(value.untyped_storage().data_ptr(), None)
            elif isinstance(value, (list, tuple)):
                self.forget(value)
            elif isinstance(value, dict):
                self.forget(value.values())

    def of_arguments(self, args: Sequence[Any]) -> dict[int, np.ndarray]:
        """Return, by argument, which of its bytes nobody wrote; a launch clears what it writes."""
        found = {}
        for i, value in enumerate(args):
            value = value.base if isinstance(value, TensorMap) else value
            if not isinstance(value, torch.Tensor):
                continue
            storage = value.untyped_storage()
            known = self._masks.get(storage.data_ptr())
            if known is None:
                continue
            reference, mask = known
            if reference.expired() or reference.cdata != StorageWeakRef(storage).cdata:
                del self._masks[storage.data_ptr()]  # its memory is another's by now
                continue
            start = value.data_ptr() - storage.data_ptr()
            part = mask[start : start + len(bytes_of(value)[0])]
            if part.any():
                found[i] = part
        return found
