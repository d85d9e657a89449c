"""This file builds conversions between types, and moves between registers of different width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction, vector
from ..types import (
    SINT,
    UINT,
    Array,
    decode,
    encode,
    is_float,
    join_bits,
    numeric,
    split_bits,
    type_bits,
)
from .build import assign, elementwise

INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
TF32_HALF, TF32_MASK, TF32_NAN = map(np.uint32, (0x1000, 0xFFFFE000, 0x7FFFFFFF))


def to_integer(x: Array, dtype: type) -> Array:
    """Convert whole floats, saturated; NaN becomes 0."""
    info = np.iinfo(dtype)
    wide = x.astype(np.float64)
    top = wide >= float(info.max)
    clipped = np.clip(np.nan_to_num(wide), float(info.min), float(info.max))
    return np.where(top, info.max, np.where(top, 0, clipped).astype(dtype)).astype(dtype)


@op("alu", "cvt")
def _convert(k: Kernel, ins: Instruction) -> Run:
    to, source = ins.types[0], ins.types[-1]
    ins.allow(*INTEGRAL, *(["rna"] if to == "tf32" else []), "relu", "sat")
    relu, saturate, packed = "relu" in ins.modifiers, "sat" in ins.modifiers, len(ins.operands) == 3
    if (saturate and (packed or not is_float(to))) or (to == "tf32") != ("rna" in ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    if packed:
        return _pack(k, ins, to, source, relu)
    rounding = next((INTEGRAL[m] for m in ins.modifiers if m in INTEGRAL), None)
    convert = _converter(to, source, rounding, relu, saturate)
    d, s = k.dst(ins, ins.operands[0]), k.src(ins.operands[1], source)
    raw_source, raw_to = UINT[type_bits(source)], UINT[k.program.widths[ins.operands[0]]]
    extend = SINT if to[0] == "s" else UINT

    def run(g: Group) -> None:
        raw = convert(g.regs[s].astype(raw_source, copy=False))
        if raw.dtype != raw_to:  # a narrow result in a wider register
            raw = raw.view(extend[type_bits(to)]).astype(extend[8 * np.dtype(raw_to).itemsize])
            raw = raw.view(raw_to)
        g.regs[d] = raw

    return run


def _pack(k: Kernel, ins: Instruction, to: str, source: str, relu: bool) -> Run:
    """Convert two floats into a packed pair, the first one on top."""
    enc = encode(to[:-2])
    floor = (lambda x: np.maximum(x, 0)) if relu else (lambda x: x)

    def fn(a: Array, b: Array) -> Array:
        halves = np.broadcast_arrays(enc(floor(b)), enc(floor(a)))
        return join_bits(np.stack(halves, axis=-1), np.uint32)

    return elementwise(k, ins, fn, [source, source], "b32")


def _converter(
    to: str, source: str, rounding: Callable[[Array], Array] | None, relu: bool, saturate: bool
) -> Callable[[Array], Array]:
    """Return a function from raw bits to raw bits."""
    dec, enc, dtype = decode(source), encode(to), numeric(to)
    raw = UINT[type_bits(to)]

    def convert(bits: Array) -> Array:
        x = dec(bits)
        if to == "tf32":  # to nearest, ties away, 10 bits of mantissa
            rounded = (x.view(np.uint32) + TF32_HALF) & TF32_MASK
            return np.where(np.isnan(x), TF32_NAN, rounded)
        if is_float(source):
            if rounding is not None:
                x = rounding(x)
            if relu:
                x = np.maximum(x, 0)
            if dtype is not None and not is_float(to):
                return to_integer(x, dtype).view(raw)
        return enc(np.clip(x, 0, 1) if saturate else x)

    return convert


@op("alu", "mov", "cvta")
def _move(k: Kernel, ins: Instruction) -> Run:
    if ins.base == "cvta" and not {"global", "param"} & set(ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    t, (to, source) = ins.types[-1] if ins.types else "pred", ins.operands
    bits, pieces, parts = type_bits(t), vector(source), len(vector(to))
    if to.startswith("{"):
        part = UINT[bits // parts]
        return assign(k, ins, [source], [t], lambda a: [*np.moveaxis(split_bits(a, part), -1, 0)])
    if source.startswith("{"):
        types = [f"b{bits // len(pieces)}"] * len(pieces)

        def join(*a: Array) -> list[Array]:
            return [join_bits(np.stack(np.broadcast_arrays(*a), axis=-1), UINT[bits])]

        return assign(k, ins, pieces, types, join)
    return assign(k, ins, [source], [t], lambda a: [a])


@op("alu", "createpolicy")
def _cache_policy(k: Kernel, ins: Instruction) -> Run:
    return assign(k, ins, ["0"], ["b64"], lambda a: [a])
