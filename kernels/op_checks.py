"""What the operators of `ops` demand of their arguments, and the checks that contracts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import product
from typing import Any

import torch
from torch import Tensor

from .call import MAX_ROWS
from .device import interpreted
from .forms import ResidentForm
from .layout import CHANNEL_ALIGN, PlanesLayout, pad_to
from .op import Faults, Op
from .tiles import TileConfig

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
RECORDS: dict[str, type] = {
    "layout": PlanesLayout, "out_layout": PlanesLayout, "tile": TileConfig, "form": ResidentForm,
}  # fmt: skip


def check(op: Op, tensors: Mapping[str, Tensor | None], options: Mapping[str, Any]) -> dict:
    """Return the options with layouts and tiles as objects. Raises ValueError or TypeError."""
    _check_tensors(op, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    options = {name: _record(op, name, value) for name, value in options.items()}
    for fault in op.contract(**tensors, **options):
        raise ValueError(f"{op.name}: {fault}")
    return options


def check_memory(op: Op, tensors: Mapping[str, Tensor]) -> None:
    """Check that written tensors share no memory with others, and that rows can be counted.

    Only real tensors have memory.
    """
    spans = {n: (t.data_ptr(), t.data_ptr() + t.nbytes) for n, t in tensors.items() if t.numel()}
    for written, name in product(op.writes, spans):
        if name != written and written in spans:
            (first, last), (start, end) = spans[written], spans[name]
            if start < last and first < end:
                raise ValueError(f"{op.name}: {written} is written and shares memory with {name}")
    for name, tensor in tensors.items():
        rows = tensor.shape[0]
        if rows > MAX_ROWS:
            raise ValueError(f"{op.name}: {name} has {rows} rows, at most {MAX_ROWS} count")


def _check_tensors(op: Op, tensors: Mapping[str, Tensor]) -> None:
    first, leader = next(iter(tensors.items()))
    if leader.device.type != ("cpu" if interpreted() else "cuda"):
        raise ValueError(
            f"{op.name}: {first} is on {leader.device}; kernels run on a GPU, or, where they were "
            "imported under TRITON_INTERPRET=1, on the CPU"
        )
    _check_dtype(op, first, leader, (*DTYPES, torch.uint8) if first == op.raw else DTYPES)
    usual = next(name for name in tensors if name not in (op.raw, *op.float32))
    wanted = tensors[usual].dtype
    for name, tensor in tensors.items():
        if tensor.device != leader.device:
            raise ValueError(
                f"{op.name}: {first} is on {leader.device}, but {name} on {tensor.device}"
            )
        if name == op.raw:
            continue
        dtype = torch.float32 if name in op.float32 else wanted
        if tensor.dtype != dtype:
            raise TypeError(f"{op.name}: {name} must be {dtype}, got {tensor.dtype}")
        if not tensor.is_contiguous():
            strides = tensor.stride()
            raise ValueError(f"{op.name}: {name} must be contiguous, got strides {strides}")
    _check_dtype(op, usual, tensors[usual], DTYPES[:2] if op.half else DTYPES)


def _check_dtype(op: Op, name: str, tensor: Tensor, allowed: tuple[torch.dtype, ...]) -> None:
    if tensor.dtype not in allowed:
        names = ", ".join(map(str, allowed))
        raise TypeError(f"{op.name}: {name} must be one of {names}, got {tensor.dtype}")


def _record(op: Op, name: str, value: Any) -> Any:
    """Make the record that an option is; keep all else."""
    if name not in RECORDS or value is None:
        return value
    every = fields(RECORDS[name])
    names = [field.name for field in every]
    needed = sum(field.default is MISSING for field in every)
    if not needed <= len(value) <= len(names):
        raise ValueError(f"{op.name}: {name} must be [{', '.join(names)}], got {list(value)}")
    record = RECORDS[name](*value)
    if isinstance(record, PlanesLayout):
        sizes = (record.H, record.W, record.C, record.block_k, record.R)
        aligned = record.C % CHANNEL_ALIGN == 0 or CHANNEL_ALIGN % record.C == 0
        if record.N < 0 or min(sizes) < 1 or record.R % 2 == 0 or not aligned:
            raise ValueError(
                f"{op.name}: {name} [{', '.join(names)}] must have N >= 0, an odd R, C that "
                f"divides or is a multiple of {CHANNEL_ALIGN}, and the rest positive; "
                f"got {list(value)}"
            )
    return record


# What contracts share; each yields what is wrong.


@dataclass(frozen=True)
class AtLeast:
    size: int

    def __str__(self) -> str:
        return f">= {self.size}"


def shape(name: str, tensor: Tensor, *expected: int | AtLeast | None) -> Faults:
    """Demand a shape; None stands for any size."""
    if len(tensor.shape) != len(expected) or any(
        got < want.size if isinstance(want, AtLeast) else want is not None and got != want
        for got, want in zip(tensor.shape, expected, strict=False)
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        yield f"{name} must have shape [{wanted}], got {list(tensor.shape)}"


def matrix(w: Tensor, b: Tensor, k: int, n: int, tile: TileConfig) -> Faults:
    """Demand a packed weight [k, n] that whole tiles may read, and its bias."""
    rows, columns = pad_to(k, tile.block_k), pad_to(n, tile.block_n)
    yield from shape("w", w, AtLeast(rows), AtLeast(columns))
    yield from shape("b", b, w.shape[1])


def taps(
    w: Tensor, b: Tensor, convs: int, layout: PlanesLayout, n: int, tile: TileConfig
) -> Faults:
    """Demand the packed weights of R x R convolutions with n output channels, and their biases."""
    if tile.block_k != layout.block_k:
        yield f"the tile's block_k must be the layout's, {layout.block_k}, got {tile.block_k}"
    columns = pad_to(n, tile.block_n)
    yield from shape("w", w, convs, layout.R, AtLeast(layout.k), AtLeast(columns))
    yield from shape("b", b, convs, w.shape[3])


def three_by_three(layout: PlanesLayout) -> Faults:
    """Demand the layout of a block's splits: for 3x3 kernels, multiples of 8 channels wide."""
    if layout.R != 3 or layout.C % 8:
        yield f"layout must have R = 3 and a multiple of 8 as C, got R {layout.R}, C {layout.C}"


def images(name: str, x: Tensor, H: int, W: int) -> Faults:
    """Demand rows of whole images of H x W pixels."""
    yield from shape(name, x, None, None)
    yield from at_least_one("H", H)
    yield from at_least_one("W", W)
    if x.shape[0] % (H * W):
        yield f"{name} must have a multiple of H * W = {H * W} rows, got {x.shape[0]}"


def pixels(x: Tensor, H: int, W: int, stride: int) -> int:
    """Return the rows of a strided output."""
    return x.shape[0] // (H * W) * -(-H // stride) * -(-W // stride)


def halved(x: Tensor, out: Tensor, *, H: int, W: int) -> Faults:
    """Demand what pools of stride 2 take."""
    yield from images("x", x, H, W)
    yield from shape("out", out, pixels(x, H, W, 2), x.shape[1])


def at_least_one(name: str, value: int) -> Faults:
    if value < 1:
        yield f"{name} must be at least 1, got {value}"
