"""This file builds conversions between types."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..rounding import DIRECTED, bf16_of_float64, bf16_toward_zero, converted, saturate
from ..small_floats import CODECS, encode_scale
from ..types import (
    SINT,
    TF32_HALF,
    TF32_MASK,
    TF32_NAN,
    UINT,
    Array,
    decode,
    encode,
    is_float,
    is_packed,
    join_bits,
    join_nibbles,
    numeric,
    to_bf16,
    type_bits,
)

INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
WIDE = ("f64", "s32", "u32", "s64", "u64")  # what float32 does not hold


def to_integer(x: Array, dtype: type, nan: int = 0) -> Array:
    """Convert whole floats, saturated."""
    info = np.iinfo(dtype)
    wide = x.astype(np.float64)
    top = wide >= float(info.max)
    clipped = np.clip(np.nan_to_num(wide), float(info.min), float(info.max))
    whole: Array = np.where(top, info.max, np.where(top, 0, clipped).astype(dtype)).astype(dtype)
    return np.where(np.isnan(wide), dtype(nan), whole) if nan else whole


@op("alu", "cvt")
def _convert(k: Kernel, ins: Instruction) -> Run:
    to, source = ins.types[0], ins.types[-1]
    ins.allow(*INTEGRAL, *DIRECTED, "rna", "relu", "sat", "satfinite")
    if len(ins.operands) == 3:
        return _pack(k, ins, to, source)
    convert = _converter(ins, to, source)
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


def _pack(k: Kernel, ins: Instruction, to: str, source: str) -> Run:
    """Convert two floats into a packed pair, the first one on top."""
    finish, raw = _rounder(ins, to, source), UINT[type_bits(to)]
    join = join_nibbles if to == "e2m1x2" else join_bits
    d, wide = k.dst(ins, ins.operands[0]), UINT[k.program.widths[ins.operands[0]]]
    first, second = (k.src(x, source) for x in ins.operands[1:])
    dec = decode(source)

    def run(g: Group) -> None:
        a, b = (finish(dec(g.regs[s])) for s in (first, second))
        g.regs[d] = join(np.stack(np.broadcast_arrays(b, a), axis=-1), raw).astype(wide, copy=False)

    return run


def _converter(ins: Instruction, to: str, source: str) -> Callable[[Array], Array]:
    """Return a function from raw bits to raw bits."""
    dec, dtype, raw = decode(source), numeric(to), UINT[type_bits(to)]
    whole = next((INTEGRAL[m] for m in ins.modifiers if m in INTEGRAL), None)
    relu, saturated = "relu" in ins.modifiers, "sat" in ins.modifiers
    if is_packed(to) != is_packed(source):
        raise UnsupportedError(f"instruction {ins.text}")
    if is_packed(to):
        finish = _rounder(ins, to, source)
        join = join_nibbles if to == "e2m1x2" else join_bits
        return lambda bits: join(finish(dec(bits)), raw)
    if is_float(to):
        finish = _rounder(ins, to, source)
        if whole is None:
            return lambda bits: finish(dec(bits))
        return lambda bits: finish(whole(dec(bits)))
    if is_float(source):
        if whole is None:
            raise UnsupportedError(f"instruction {ins.text}")
        bits_to = type_bits(to)
        nan = 1 << (bits_to - 1) if source == "f64" or bits_to == 64 else 0
        nan = nan - (1 << bits_to) if nan and to[0] == "s" else nan

        def rounded(bits: Array) -> Array:
            x = whole(dec(bits))
            return to_integer(np.maximum(x, 0) if relu else x, dtype, nan).view(raw)

        return rounded
    if not saturated:
        return lambda bits: dec(bits).astype(dtype, copy=False).view(raw)
    ours, theirs = np.iinfo(dtype), np.iinfo(numeric(source))
    low, high = max(ours.min, theirs.min), min(ours.max, theirs.max)
    return lambda bits: dec(bits).clip(low, high).astype(dtype).view(raw)


def _rounder(ins: Instruction, to: str, source: str) -> Callable[[Array], Array]:
    """Return a function from numbers to the raw bits of floats, one element each."""
    element = to.split("x")[0]
    mode = next((m for m in ins.modifiers if m in (*DIRECTED, "rna")), None)
    finish = _of_mode(ins, element, source, mode)
    if "sat" in ins.modifiers:
        if element not in ("f16", "f32", "f64") or is_packed(to):
            raise UnsupportedError(f"instruction {ins.text}")
        return lambda x: finish(saturate(x))
    floor = "relu" in ins.modifiers
    top = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "tf32": 3.4011621342146535e38}
    limit = top.get(element) if "satfinite" in ins.modifiers else None
    if limit is not None:
        return lambda x: finish(np.clip(x, 0 if floor else -limit, limit))
    return (lambda x: finish(np.maximum(x, 0))) if floor else finish


def _of_mode(
    ins: Instruction, element: str, source: str, mode: str | None
) -> Callable[[Array], Array]:
    if element == "tf32":
        if mode in (None, "rz", "rna"):
            return lambda x: _to_tf32(x, mode)
    elif element == "ue8m0":
        if mode in ("rz", "rp"):
            return lambda x: encode_scale(x, up=mode == "rp")
    elif element == "bf16":
        if mode is None and source in WIDE:
            return lambda x: to_bf16(bf16_of_float64(x.astype(np.float64)))
        if mode in (None, "rz"):
            return to_bf16 if mode is None else bf16_toward_zero
    elif element in CODECS:
        if mode is None and "satfinite" in ins.modifiers:
            return CODECS[element][2]
    elif mode is None:
        return encode(element)
    elif mode != "rna":
        dtype, raw = numeric(element), UINT[type_bits(element)]
        return lambda x: converted(x, dtype, mode).view(raw)
    raise UnsupportedError(f"instruction {ins.text}")


def _to_tf32(x: Array, mode: str | None) -> Array:
    """Keep 10 bits of the mantissa: cut, to nearest even, or to nearest with ties away."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    if mode == "rna":
        bits = bits + TF32_HALF
    elif mode is None:
        bits = bits + (TF32_HALF - np.uint32(1) + (bits >> 13 & 1))
    return np.where(np.isnan(x), TF32_NAN, bits & TF32_MASK)
