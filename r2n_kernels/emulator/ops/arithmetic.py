"""This file builds sums, products, comparisons and functions of numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..rounding import DIRECTED, fma_bf16, fma_f32, fma_f64, rounded, saturate
from ..types import Array, decode, encode, is_float, is_packed, numeric, type_bits
from .build import assign, elementwise
from .integers import carried, clipped, multiplier, truncated_div

SUMS: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt,
    "rcp": lambda a: 1 / a,
}  # fmt: skip
FUSED = {"f32": fma_f32, "f64": fma_f64, "bf16": fma_bf16}


def in_mode(ins: Instruction, fn: Callable[..., Array]) -> Callable[..., Array]:
    """Return fn, or the same in the rounding mode of `ins`, and clipped where that is asked for."""
    t = ins.types[0]
    mode = next((m for m in ins.modifiers if m in DIRECTED), None)
    if mode is not None:
        if t not in ("f32", "f64", "f32x2"):
            raise UnsupportedError(f"modifier {mode} in {ins.text}")
        fn = rounded(ins.base, np.float64 if t == "f64" else np.float32, mode)
    if "sat" in ins.modifiers:
        return lambda *x: saturate(fn(*x))
    if "relu" in ins.modifiers:
        return lambda *x: np.maximum(fn(*x), 0)
    return fn


@op("alu", "add", "sub", "div")
def _sum(k: Kernel, ins: Instruction) -> Run:
    # add.f32.f16 (sm_100 on) adds a half to a float: types of the result and the first operand
    t, first = ins.types[0], ins.types[-1]
    if "cc" in ins.modifiers:
        return carried(k, ins)
    if not is_float(t):
        ins.allow("sat")
        fn = truncated_div if ins.base == "div" else SUMS[ins.base]
        return elementwise(k, ins, clipped(ins, fn, t), [t, t], t)
    ins.allow(*DIRECTED, "sat")
    fn = in_mode(ins, SUMS[ins.base])
    if first != t:
        if ins.base == "div" or t != "f32" or first not in ("f16", "bf16"):
            raise UnsupportedError(f"mixed types in {ins.text}")
        return elementwise(k, ins, lambda a, b: fn(a.astype(np.float32), b), [first, t], t)
    return elementwise(k, ins, fn, [t, t], t)


@op("alu", "min", "max")
def _extreme(k: Kernel, ins: Instruction) -> Run:
    t, low = ins.types[-1], ins.base == "min"
    ins.allow("NaN", *(("xorsign", "abs") if is_float(t) else ("relu",)))
    fn: Callable[..., Array] = np.minimum if low else np.maximum
    if is_float(t) and "NaN" not in ins.modifiers:
        fn = np.fmin if low else np.fmax
    pick = fn
    if len(ins.operands) == 4:  # sm_100 on
        fn = lambda a, b, c: pick(pick(a, b), c)  # noqa: E731
    plain = fn
    if "relu" in ins.modifiers:
        fn = lambda *x: np.maximum(plain(*x), 0)  # noqa: E731
    elif "xorsign" in ins.modifiers:
        fn = lambda *x: with_signs(plain(*map(np.abs, x)), *x)  # noqa: E731
    elif "abs" in ins.modifiers:
        fn = lambda *x: plain(*map(np.abs, x))  # noqa: E731
    return elementwise(k, ins, fn, [t] * (len(ins.operands) - 1), t)


def with_signs(size: Array, *x: Array) -> Array:
    """Return numbers of this size, negative where an odd number of x is."""
    negative = np.logical_xor.reduce(np.broadcast_arrays(*map(np.signbit, x)))
    return np.where(negative, -size, size)


@op("alu", "and", "or", "xor", "rem", "copysign")
def _binary(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[0]
    ins.allow()
    fns: dict[str, Callable[[Array, Array], Array]] = {
        "rem": np.fmod, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
        "copysign": lambda a, b: np.copysign(b, a),
    }  # fmt: skip
    return elementwise(k, ins, fns[ins.base], [t, t], t)


@op("alu", "mul", "mad", "fma")
def _multiply(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    if len(set(ins.types)) > 1:
        return _mixed_multiply(k, ins)
    if is_float(t):
        ins.allow(*DIRECTED, "sat", "relu")
        if ins.base == "mul":
            return elementwise(k, ins, in_mode(ins, np.multiply), [t, t], t)
        # a float64 holds the product of halves and their sum exactly
        fused = FUSED.get(t.split("x")[0], lambda a, b, c: a.astype(np.float64) * b + c)
        return elementwise(k, ins, in_mode(ins, fused), [t, t, t], t)
    ins.allow("lo", "hi", "wide", "sat", "cc")
    if "cc" in ins.modifiers:
        return carried(k, ins)
    part = next(m for m in ins.modifiers if m in ("lo", "hi", "wide"))
    fn, out = multiplier(part, t)
    if ins.base == "mul":
        return elementwise(k, ins, fn, [t, t], out)
    add = clipped(ins, np.add, out)
    return elementwise(k, ins, lambda a, b, c: add(fn(a, b), c), [t, t, out], out)


def _mixed_multiply(k: Kernel, ins: Instruction) -> Run:
    """Build fma.f32.f16 (sm_100 on): a float plus the product of halves."""
    t, half = ins.types
    ins.allow(*DIRECTED, "sat")
    if ins.base != "fma" or t != "f32" or half not in ("f16", "bf16"):
        raise UnsupportedError(f"mixed types in {ins.text}")
    fn = in_mode(ins, fma_f32)

    def fused(a: Array, b: Array, c: Array) -> Array:
        return fn(a.astype(np.float32), b.astype(np.float32), c)

    return elementwise(k, ins, fused, [half, half, t], t)


@op("alu", "neg", "abs", "ex2", "lg2", "rcp", "sqrt", "rsqrt", "sin", "cos", "tanh")
def _unary(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow(*(DIRECTED if ins.base in ("rcp", "sqrt") else ()))
    fns: dict[str, Callable[..., Array]] = {
        "neg": np.negative, "abs": np.abs, "ex2": np.exp2, "lg2": np.log2,
        "rsqrt": lambda a: 1 / np.sqrt(a), "sin": np.sin, "cos": np.cos, "tanh": np.tanh, **SUMS,
    }  # fmt: skip
    return elementwise(k, ins, in_mode(ins, fns[ins.base]), [t], t)


TEST: dict[str, Callable[[Array], Array]] = {
    "finite": np.isfinite, "infinite": np.isinf, "notanumber": np.isnan,
    "number": lambda a: ~np.isnan(a),
    "normal": lambda a: np.isfinite(a) & (np.abs(a) >= np.finfo(a.dtype).tiny),
    "subnormal": lambda a: (a != 0) & (np.abs(a) < np.finfo(a.dtype).tiny),
}  # fmt: skip


@op("alu", "testp")
def _test(k: Kernel, ins: Instruction) -> Run:
    return elementwise(k, ins, TEST[ins.modifiers[0]], ins.types, "pred")


COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}  # fmt: skip
JOIN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
ALIAS = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


def comparison(ins: Instruction) -> Callable[[Array, Array], Array]:
    """Return a function from raw bits to where they compare as `ins` asks for."""
    t, name = ins.types[-1], ALIAS.get(ins.modifiers[0], ins.modifiers[0])
    ins.allow(*JOIN, ins.modifiers[0])
    unordered, dec = is_float(t) and name not in COMPARE and name.endswith("u"), decode(t)
    compare = COMPARE[name[:-1] if unordered else name]

    def fn(a: Array, b: Array) -> Array:
        a, b = dec(a), dec(b)
        found = compare(a, b)
        if unordered:
            return found | np.isnan(a) | np.isnan(b)
        if is_float(t) and name == "ne":
            return found & ~(np.isnan(a) | np.isnan(b))
        return found

    return fn


@op("alu", "setp")
def _compare(k: Kernel, ins: Instruction) -> Run:
    t, compare = ins.types[-1], comparison(ins)
    join = next((JOIN[m] for m in ins.modifiers[1:] if m in JOIN), None)

    def fn(a: Array, b: Array, *p: Array) -> tuple[Array, Array]:
        found = compare(a, b)
        if is_packed(t):  # a predicate for each half
            low, high = found[..., 0], found[..., 1]
            return (join(low, *p), join(high, *p)) if join else (low, high)
        return (join(found, *p), join(~found, *p)) if join else (found, ~found)

    return assign(k, ins, ins.operands[1:], [t, t, "pred"], fn)


@op("alu", "set")
def _set(k: Kernel, ins: Instruction) -> Run:
    """Build comparisons whose result is a number: 1.0, or all bits of an integer."""
    to, t = ins.types
    compare, enc = comparison(ins), encode(to)
    if any(m in JOIN for m in ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    if is_float(to):
        return assign(
            k, ins, ins.operands[1:], [t, t],
            lambda a, b: [enc(compare(a, b).astype(np.float32))],
        )  # fmt: skip
    all_bits = lambda found: enc(-found.astype(np.int64).astype(numeric(to)))  # noqa: E731
    return assign(k, ins, ins.operands[1:], [t, t], lambda a, b: [all_bits(compare(a, b))])


@op("alu", "slct")
def _select_by_sign(k: Kernel, ins: Instruction) -> Run:
    t, by = ins.types
    ins.allow()
    raw = f"b{type_bits(t)}"

    def pick(a: Array, b: Array, c: Array) -> Array:
        return np.where(c >= 0, a, b)

    return elementwise(k, ins, pick, [raw, raw, by], raw)


@op("alu", "selp")
def _select(k: Kernel, ins: Instruction) -> Run:
    t = f"b{type_bits(ins.types[-1])}"

    def pick(a: Array, b: Array, p: Array) -> Array:
        return np.where(p, a, b)

    return elementwise(k, ins, pick, [t, t, "pred"], t)
