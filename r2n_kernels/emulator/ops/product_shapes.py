"""An instruction descriptor says what tcgen05.mma multiplies: shapes, element types, scales.

PTX ISA: "Instruction descriptor" of tcgen05. A row of an operand is 32 bytes, whatever the type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import UnsupportedError
from ..small_floats import CODECS, FORMATS
from ..types import Array
from .mma import operand_decoder

ROW_BYTES = 32
EVERY = np.arange(ROW_BYTES)
Decoder = Callable[[Array], Array]
# (kind, format in the instruction descriptor) of operands and of accumulators
OPERANDS = {
    ("f16", 0): "f16", ("f16", 1): "bf16", ("tf32", 2): "tf32", ("i8", 0): "u8", ("i8", 1): "s8",
    ("f8f6f4", 0): "e4m3", ("f8f6f4", 1): "e5m2", ("f8f6f4", 3): "e2m3", ("f8f6f4", 4): "e3m2",
    ("f8f6f4", 5): "e2m1",
}  # fmt: skip
ACCUMULATORS = {
    ("f16", 0): np.float16, ("f16", 1): np.float32, ("tf32", 1): np.float32, ("i8", 2): np.int32,
    ("f8f6f4", 0): np.float16, ("f8f6f4", 1): np.float32,
}  # fmt: skip
# sparsity, saturation, negation, shifts; of block-scaled kinds bits 4, 5, 23, 29 and 30 say which
# scales, and their type
REJECTED = 0b1111 | 0b11 << 13 | 0b1 << 23 | 0b11 << 29
REJECTED_SCALED = 0b1111 | 0b11 << 13 | 0b111 << 24 | 1 << 31
SCALED = {"mxf8f6f4": "f8f6f4", "mxf4": "", "mxf4nvf4": ""}
BLOCKS = {"mxf8f6f4": 1, "mxf4": 2, "mxf4nvf4": 4}  # scales per row of an operand, by default


@dataclass(frozen=True)
class Scales:
    """Scales multiply blocks of both operands. first: the bytes of a word where they begin."""

    per_row: int
    first: tuple[int, int]
    decode: Decoder


@dataclass(frozen=True)
class Shape:
    """A Shape is what an instruction descriptor says of a product [m, depth] x [depth, n].

    size: bytes from one element of a row to the next one, where decoders take elements of that
    size; they make `depth` numbers of the 32 bytes of a row.
    """

    m: int
    n: int
    depth: int
    size: int
    decoders: tuple[Decoder, Decoder]
    acc: type
    mn_major: tuple[int, int]
    scales: Scales | None = None
    used: tuple[Array, Array] = EVERY, EVERY  # the elements of a row that are no padding


@lru_cache(maxsize=256)
def shape_of(kind: str, blocks: int, descriptor: int) -> Shape:
    """Return the shape. blocks: scales per row that the instruction's name asks for, 0: default."""
    if kind in SCALED:
        return _scaled_shape(kind, blocks or BLOCKS[kind], descriptor)
    m, n = (descriptor >> 24 & 31) * 16, (descriptor >> 17 & 63) * 8
    acc = ACCUMULATORS.get((kind, descriptor >> 4 & 3))
    types = _types(kind, descriptor)
    if descriptor & REJECTED or acc is None:
        raise UnsupportedError(f"instruction descriptor {descriptor:#x}")
    size = {"f16": 2, "tf32": 4}.get(kind, 1)
    mn_major = _majors(descriptor, types)
    decoders = _decoders(types)
    used = _used(types, ROW_BYTES // size)
    return Shape(m, n, ROW_BYTES // size, size, decoders, acc, mn_major, used=used)


def _scaled_shape(kind: str, blocks: int, descriptor: int) -> Shape:
    if descriptor & REJECTED_SCALED or (kind != "mxf8f6f4" and blocks not in (2, 4)):
        raise UnsupportedError(f"instruction descriptor {descriptor:#x} of kind::{kind}")
    scale_type = "ue8m0" if descriptor >> 23 & 1 else "e4m3"
    m, n = (descriptor >> 27 & 3) * 128, (descriptor >> 17 & 63) * 8
    first = descriptor >> 29 & 3, descriptor >> 4 & 3
    scales = Scales(blocks, first, CODECS[scale_type][1])
    if kind == "mxf8f6f4":
        types = _types("f8f6f4", descriptor)
        mn_major = _majors(descriptor, types)
        decoders, depth, used = _decoders(types), ROW_BYTES, _used(types, ROW_BYTES)
    else:  # both are e2m1, two in a byte
        mn_major, depth, used = (0, 0), 2 * ROW_BYTES, (EVERY, EVERY)
        decoders = (_packed("e2m1"),) * 2
    return Shape(m, n, depth, 1, decoders, np.float32, mn_major, scales, used)


def _types(kind: str, descriptor: int) -> tuple[str, str]:
    a, b = (OPERANDS.get((kind, descriptor >> bit & 7)) for bit in (7, 10))
    if a is None or b is None:
        raise UnsupportedError(f"element types of instruction descriptor {descriptor:#x}")
    return a, b


def _majors(descriptor: int, types: tuple[str, str]) -> tuple[int, int]:
    found = descriptor >> 15 & 1, descriptor >> 16 & 1
    for t, mn_major in zip(types, found, strict=True):
        if mn_major and t in FORMATS and FORMATS[t].bits < 8:
            raise UnsupportedError(f"transposed {t} of instruction descriptor {descriptor:#x}")
    return found


def _used(types: tuple[str, str], elements: int) -> tuple[Array, Array]:
    """Return the elements of rows of A and B that hold data: 16 small ones begin every 16 bytes."""
    a, b = (
        np.flatnonzero(np.arange(ROW_BYTES) % 16 < 2 * FORMATS[t].bits)
        if t in FORMATS
        else np.arange(elements)
        for t in types
    )
    return a, b


def _decoders(types: tuple[str, str]) -> tuple[Decoder, Decoder]:
    a, b = (
        _packed(t) if t in FORMATS and FORMATS[t].bits < 8 else operand_decoder(t)[0] for t in types
    )
    return a, b


def _packed(t: str) -> Decoder:
    bits, read = FORMATS[t].bits, CODECS[t][1]

    def decode(a: Array) -> Array:
        """Read elements that follow each other bit by bit, the lowest first."""
        ones = np.unpackbits(np.ascontiguousarray(a), axis=-1, bitorder="little")
        values = np.packbits(ones.reshape(*a.shape[:-1], -1, bits), axis=-1, bitorder="little")
        return read(values[..., 0])

    return decode
