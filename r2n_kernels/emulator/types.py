"""PTX types are numpy arrays here: registers hold raw bits, [warps or 1, 32 or 1]."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .errors import UnsupportedError
from .small_floats import CODECS

Array = np.ndarray
LANES = 32
UINT: dict[int, type] = {
    1: np.bool_,
    8: np.uint8,
    16: np.uint16,
    32: np.uint32,
    64: np.uint64,
    128: np.complex128,  # only moved: numpy does so many times faster than with narrower numbers
}
SINT: dict[int, type] = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOAT: dict[int, type] = {16: np.float16, 32: np.float32, 64: np.float64}
# tf32 is float32 of which this is looked at; half of its last bit; its NaN
TF32_MASK, TF32_HALF, TF32_NAN = map(np.uint32, (0xFFFFE000, 0x1000, 0x7FFFFFFF))
TYPE = re.compile(rf"(?:(pred)|([usbf]|bf|tf)(8|16|32|64|128)|({'|'.join(CODECS)}))(?:x([24]))?")


def _parts(t: str) -> tuple[str, int, int]:
    """Take a PTX type apart: its kind, bits of an element, and lanes, 0 if it is not packed."""
    match = TYPE.fullmatch(t)
    if match is None:
        raise UnsupportedError(f"type {t}")
    pred, kind, bits, small, lanes = match.groups()
    if small:
        return small, CODECS[small][0], int(lanes or 0)
    return pred or kind, 1 if pred else int(bits), int(lanes or 0)


def type_bits(t: str) -> int:
    """Return the width of a PTX type, packed types included."""
    _, bits, lanes = _parts(t)
    return bits * max(lanes, 1)


def is_float(t: str) -> bool:
    return _parts(t)[0] not in ("u", "s", "b", "pred")


def is_packed(t: str) -> bool:
    return _parts(t)[2] > 0


def numeric(t: str) -> type:
    """Return numpy's type of one element as it is computed with: float32 for what numpy lacks."""
    kind, bits, _ = _parts(t)
    if kind == "pred":
        return np.bool_
    if kind == "bf" or kind in CODECS:
        return np.float32
    return {"u": UINT, "b": UINT, "s": SINT, "f": FLOAT, "tf": FLOAT}[kind][bits]


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


def split_nibbles(a: Array) -> Array:
    """Split bytes [...] into [..., 2], the lower half first."""
    return np.stack([a & np.uint8(15), a >> np.uint8(4)], axis=-1)


def join_nibbles(x: Array, whole: type) -> Array:
    return join_bits(x[..., ::2] | x[..., 1::2] << np.uint8(4), whole)


def decode(t: str) -> Callable[[Array], Array]:
    """Return a function from raw bits to numbers; those of a packed type get one more axis."""
    kind, bits, lanes = _parts(t)
    dtype = numeric(t)
    if kind == "pred":
        return lambda a: a
    if kind == "bf":
        if lanes:
            return lambda a: from_bf16(split_bits(a, np.uint16))
        return lambda a: from_bf16(a.view(np.uint16))
    if kind in CODECS:
        read = CODECS[kind][1]
        if bits == 4:
            return lambda a: read(split_nibbles(a.astype(np.uint8, copy=False)))
        return (lambda a: read(split_bits(a, np.uint8))) if lanes else read
    if lanes:
        return lambda a: split_bits(a, dtype)
    return lambda a: a.view(dtype)


def encode(t: str) -> Callable[[Array], Array]:
    """Return a function from numbers to raw bits."""
    kind, bits, lanes = _parts(t)
    raw, dtype = UINT[bits * max(lanes, 1)], numeric(t)
    if kind == "pred":
        return lambda x: x
    if kind == "bf":
        return (lambda x: join_bits(to_bf16(x), raw)) if lanes else to_bf16
    if kind in CODECS:
        write, join = CODECS[kind][2], join_nibbles if bits == 4 else join_bits
        return (lambda x: join(write(x), raw)) if lanes else write
    if lanes:
        return lambda x: join_bits(x.astype(dtype, copy=False), raw)
    return lambda x: x.astype(dtype, copy=False).view(raw)


def full(a: Array, warps: int) -> Array:
    """Return a register's value for every lane: [warps, 32]."""
    return a if a.shape == (warps, LANES) else np.broadcast_to(a, (warps, LANES))
