"""What the operators of `ops` demand of their arguments; their shapes are in `op_shapes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from . import op_shapes
from .call import MAX_ROWS
from .device import interpreted
from .layout import CHANNEL_ALIGN, PlanesLayout
from .tiles import TileConfig

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
FLOAT32 = ("b", "scale", "shift")  # tensors that are float32 whatever the rest is
RECORDS = {"layout": PlanesLayout, "out_layout": PlanesLayout, "tile": TileConfig}


def check(op: str, tensors: Mapping[str, Tensor | None], options: Mapping[str, Any]) -> dict:
    """The options with layouts and tiles as objects. Raises ValueError or TypeError."""
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    _check_tensors(op, given)
    options = {name: _record(op, name, value) for name, value in options.items()}
    for fault in getattr(op_shapes, op)(**tensors, **options):
        raise ValueError(f"{op}: {fault}")
    return options


def check_memory(op: str, tensors: Mapping[str, Tensor], writes: Iterable[str]) -> None:
    """Written tensors share no memory with others, and rows can be counted. Real tensors only."""
    spans = {
        name: (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size())
        for name, t in tensors.items()
        if t.numel()
    }
    for written in writes:
        for name, (start, end) in spans.items():
            if name != written and written in spans:
                first, last = spans[written]
                if start < last and first < end:
                    raise ValueError(f"{op}: {written} is written and shares memory with {name}")
    for name, tensor in tensors.items():
        if tensor.shape[0] > MAX_ROWS:
            raise ValueError(f"{op}: {name} has {tensor.shape[0]} rows, at most {MAX_ROWS} count")


def _check_tensors(op: str, tensors: Mapping[str, Tensor]) -> None:
    first, leader = next(iter(tensors.items()))
    if leader.device.type != ("cpu" if interpreted() else "cuda"):
        raise ValueError(
            f"{op}: {first} is on {leader.device}; kernels run on a GPU, or, where they were "
            "imported under TRITON_INTERPRET=1, on the CPU"
        )
    bytes_too = (torch.uint8,) if op == "prepare" else ()
    if leader.dtype not in (*DTYPES, *bytes_too):
        names = ", ".join(map(str, (*DTYPES, *bytes_too)))
        raise TypeError(f"{op}: {first} must be one of {names}, got {leader.dtype}")
    wanted = tensors["image"].dtype if op == "prepare" else leader.dtype
    for name, tensor in tensors.items():
        if tensor.device != leader.device:
            raise ValueError(f"{op}: {first} is on {leader.device}, but {name} on {tensor.device}")
        dtype = torch.float32 if name in FLOAT32 else wanted
        if tensor.dtype != dtype and not (op == "prepare" and name == "x"):
            raise TypeError(f"{op}: {name} must be {dtype}, got {tensor.dtype}")
        if not tensor.is_contiguous() and not (op == "prepare" and name == "x"):
            raise ValueError(f"{op}: {name} must be contiguous, got strides {tensor.stride()}")
    if wanted not in DTYPES:
        raise TypeError(f"{op}: image must be one of {', '.join(map(str, DTYPES))}, got {wanted}")


def _record(op: str, name: str, value: Any) -> Any:
    """[N, H, W, ...] -> PlanesLayout, [block_m, ...] -> TileConfig; other options as they are."""
    if name not in RECORDS or value is None:
        return value
    names = [field.name for field in fields(RECORDS[name])]
    if len(value) != len(names):
        raise ValueError(f"{op}: {name} must be [{', '.join(names)}], got {list(value)}")
    record = RECORDS[name](*value)
    if isinstance(record, PlanesLayout):
        sizes = (record.H, record.W, record.C, record.block_k, record.R)
        aligned = record.C % CHANNEL_ALIGN == 0 or CHANNEL_ALIGN % record.C == 0
        if record.N < 0 or min(sizes) < 1 or record.R % 2 == 0 or not aligned:
            raise ValueError(
                f"{op}: {name} [{', '.join(names)}] must have N >= 0, an odd R, C that divides or "
                f"is a multiple of {CHANNEL_ALIGN}, and the rest positive; got {list(value)}"
            )
    return record
