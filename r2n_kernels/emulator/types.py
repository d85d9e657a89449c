"""PTX types are numpy arrays here: registers hold raw bits, [warps or 1, 32 or 1]."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .errors import UnsupportedError

Array = np.ndarray
LANES = 32
UINT: dict[int, type] = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SINT: dict[int, type] = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOAT: dict[int, type] = {16: np.float16, 32: np.float32, 64: np.float64}
TYPE = re.compile(r"(pred)|([usbf]|bf|tf)(8|16|32|64|128)(?:x([24]))?")


def _parts(t: str) -> re.Match[str]:
    """Take a PTX type apart: pred, kind, bits, lanes."""
    match = TYPE.fullmatch(t)
    if match is None:
        raise UnsupportedError(f"type {t}")
    return match


def type_bits(t: str) -> int:
    """Return the width of a PTX type, packed types included."""
    pred, _, bits, lanes = _parts(t).groups()
    return 1 if pred else int(bits) * int(lanes or 1)


def is_float(t: str) -> bool:
    return _parts(t)[2] in ("f", "bf", "tf")


def is_packed(t: str) -> bool:
    return _parts(t)[4] is not None


def numeric(t: str) -> type | None:
    """Return numpy's type of one element; None for bf16, which it lacks."""
    pred, kind, bits, _ = _parts(t).groups()
    if pred:
        return np.bool_
    if kind == "bf":
        return None
    return {"u": UINT, "b": UINT, "s": SINT, "f": FLOAT, "tf": FLOAT}[kind][int(bits)]


def to_bf16(x: Array) -> Array:
    """Convert float32 to the bits of bf16, rounded to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded)


def from_bf16(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def split_bits(x: Array, part: type) -> Array:
    """Split [...] into [..., parts], the lowest bits first."""
    return np.ascontiguousarray(x)[..., None].view(part)


def join_bits(x: Array, whole: type) -> Array:
    """Invert split_bits."""
    return np.ascontiguousarray(x).view(whole)[..., 0]


def decode(t: str) -> Callable[[Array], Array]:
    """Return a function from raw bits to numbers; those of a packed type get one more axis."""
    dtype = numeric(t)
    if t == "pred":
        return lambda a: a
    if is_packed(t):
        if dtype is None:
            return lambda a: from_bf16(split_bits(a, np.uint16))
        return lambda a: split_bits(a, dtype)
    if dtype is None:
        return lambda a: from_bf16(a.view(np.uint16))
    return lambda a: a.view(dtype)


def encode(t: str) -> Callable[[Array], Array]:
    """Return a function from numbers to raw bits."""
    raw, dtype = UINT[type_bits(t)], numeric(t)
    if t == "pred":
        return lambda x: x
    if is_packed(t):
        if dtype is None:
            return lambda x: join_bits(to_bf16(x), raw)
        return lambda x: join_bits(x.astype(dtype, copy=False), raw)
    if dtype is None:
        return to_bf16
    return lambda x: x.astype(dtype, copy=False).view(raw)


def full(a: Array, warps: int) -> Array:
    """Return a register's value for every lane: [warps, 32]."""
    return a if a.shape == (warps, LANES) else np.broadcast_to(a, (warps, LANES))
