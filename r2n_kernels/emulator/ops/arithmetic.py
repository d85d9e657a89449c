"""This file builds sums, products, comparisons and functions of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import Array, decode, is_float, is_packed, numeric, type_bits
from .build import assign, elementwise


def truncated_div(a: Array, b: Array) -> Array:
    """Divide integers as C does."""
    return (a - np.fmod(a, b)) // np.where(b == 0, 1, b).astype(a.dtype)


def high_half(a: Array, b: Array) -> Array:
    """Return the upper 64 bits of unsigned 64-bit products."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & mask, a >> half, b & mask, b >> half
    middle = a1 * b0 + ((a0 * b0) >> half)
    return a1 * b1 + (middle >> half) + (((middle & mask) + a0 * b1) >> half)


def signed_high_half(a: Array, b: Array) -> Array:
    high = high_half(a.view(np.uint64), b.view(np.uint64)).view(np.int64)
    return high - np.where(a < 0, b, 0) - np.where(b < 0, a, 0)


def multiplier(part: str, t: str) -> tuple[Callable[[Array, Array], Array], str]:
    """Return (function, result type) of an integer product; part is lo, hi or wide."""
    bits = type_bits(t)
    if part == "lo":
        return np.multiply, t
    if bits == 64:
        if part == "wide":
            raise UnsupportedError("mul.wide of 64 bits")
        return (high_half if t[0] == "u" else signed_high_half), t
    wide = f"{t[0]}{2 * bits}"
    big = numeric(wide)
    if part == "wide":
        return (lambda a, b: a.astype(big) * b.astype(big)), wide
    return (lambda a, b: ((a.astype(big) * b.astype(big)) >> bits).astype(a.dtype)), t


@op("alu", "add", "sub", "min", "max", "and", "or", "xor", "div", "rem", "copysign")
def _binary(k: Kernel, ins: Instruction) -> Run:
    # add.f32.f16 (sm_100 on) adds a half to a float: types of the result and the first operand
    t, first = ins.types[0], ins.types[-1]
    ins.allow("NaN")
    floats = is_float(t)
    quiet = floats and "NaN" not in ins.modifiers
    fns: dict[str, Callable[[Array, Array], Array]] = {
        "add": np.add, "sub": np.subtract, "div": np.divide, "rem": np.fmod,
        "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
        "min": np.minimum, "max": np.maximum, "copysign": lambda a, b: np.copysign(b, a),
    }  # fmt: skip
    if quiet:
        fns |= {"min": np.fmin, "max": np.fmax}
    fn = fns[ins.base] if floats or ins.base != "div" else truncated_div
    if first != t:
        if ins.base not in ("add", "sub") or t != "f32" or first not in ("f16", "bf16"):
            raise UnsupportedError(f"mixed types in {ins.text}")
        return elementwise(k, ins, lambda a, b: fn(a.astype(np.float32), b), [first, t], t)
    if ins.base in ("min", "max") and len(ins.operands) == 4:  # of float32, sm_100 on
        return elementwise(k, ins, lambda a, b, c: fn(fn(a, b), c), [t, t, t], t)
    return elementwise(k, ins, fn, [t, t], t)


@op("alu", "mul", "mad", "fma")
def _multiply(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow("lo", "hi", "wide")
    if len(set(ins.types)) > 1:
        raise UnsupportedError(f"mixed types in {ins.text}")
    if is_float(t):
        if ins.base == "mul":
            return elementwise(k, ins, np.multiply, [t, t], t)
        if t == "f64":  # nothing wider to round once from
            raise UnsupportedError(f"instruction {ins.text}")
        # a float64 holds the product exactly
        return elementwise(k, ins, lambda a, b, c: a.astype(np.float64) * b + c, [t, t, t], t)
    part = next(m for m in ins.modifiers if m in ("lo", "hi", "wide"))
    fn, out = multiplier(part, t)
    if ins.base == "mul":
        return elementwise(k, ins, fn, [t, t], out)
    return elementwise(k, ins, lambda a, b, c: fn(a, b) + c, [t, t, out], out)


@op("alu", "neg", "abs", "ex2", "lg2", "rcp", "sqrt", "rsqrt", "sin", "cos", "tanh")
def _unary(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow()
    fns: dict[str, Callable[[Array], Array]] = {
        "neg": np.negative, "abs": np.abs, "ex2": np.exp2, "lg2": np.log2,
        "rcp": lambda a: 1 / a, "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a),
        "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
    }  # fmt: skip
    return elementwise(k, ins, fns[ins.base], [t], t)


COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}  # fmt: skip
JOIN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
ALIAS = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


@op("alu", "setp")
def _compare(k: Kernel, ins: Instruction) -> Run:
    t, name = ins.types[-1], ALIAS.get(ins.modifiers[0], ins.modifiers[0])
    if is_packed(t):
        raise UnsupportedError(f"instruction {ins.text}")
    ins.allow(*JOIN, ins.modifiers[0])
    unordered, dec = is_float(t) and name not in COMPARE and name.endswith("u"), decode(t)
    compare = COMPARE[name[:-1] if unordered else name]
    join = next((JOIN[m] for m in ins.modifiers[1:] if m in JOIN), None)

    def fn(a: Array, b: Array, *p: Array) -> tuple[Array, Array]:
        a, b = dec(a), dec(b)
        found = compare(a, b)
        if unordered:
            found = found | np.isnan(a) | np.isnan(b)
        elif is_float(t) and name == "ne":
            found = found & ~(np.isnan(a) | np.isnan(b))
        return (join(found, *p), join(~found, *p)) if join else (found, ~found)

    return assign(k, ins, ins.operands[1:], [t, t, "pred"], fn)


@op("alu", "selp")
def _select(k: Kernel, ins: Instruction) -> Run:
    t = f"b{type_bits(ins.types[-1])}"

    def pick(a: Array, b: Array, p: Array) -> Array:
        return np.where(p, a, b)

    return elementwise(k, ins, pick, [t, t, "pred"], t)
