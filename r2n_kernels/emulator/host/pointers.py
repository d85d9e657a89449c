"""Tensors that are no arguments are reached through addresses that lie in integers of arguments."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensormaps import TensorMap

LOWEST = 1 << 32  # of an address: what is below is taken for a number
LONGEST = 1 << 16  # of a table of addresses, in elements


def reached(args: Sequence[Any]) -> list[Any]:
    """Return the live tensors, one per storage, whose addresses lie in 64-bit tensors of `args`."""
    import torch

    tensors = [a.base if isinstance(a, TensorMap) else a for a in args]
    tensors = [t for t in tensors if isinstance(t, torch.Tensor)]
    tables = [t for t in tensors if t.dtype in (torch.int64, torch.uint64) and t.numel() <= LONGEST]
    if not tables:
        return []
    values = np.concatenate([t.detach().cpu().numpy().astype(np.uint64).ravel() for t in tables])
    places = np.unique(values[values >= LOWEST])
    if not len(places):
        return []
    known = {t.untyped_storage().data_ptr() for t in tensors}
    found = []
    for one in gc.get_objects():
        if type(one) not in (torch.Tensor, torch.nn.Parameter):
            continue
        if one.device.type != "cpu" or one.layout != torch.strided or not one.numel():
            continue
        storage = one.untyped_storage()
        start = storage.data_ptr()
        if start in known:
            continue
        at = np.searchsorted(places, start)
        if at < len(places) and places[at] < start + storage.nbytes():
            known.add(start)
            found.append(one)
    return found
