"""This file builds what only integers have: carries, sums of differences, products of bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import Array, decode, encode, numeric, split_bits, type_bits
from .build import elementwise


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


def clipped(
    ins: Instruction, fn: Callable[[Array, Array], Array], t: str
) -> Callable[[Array, Array], Array]:
    """Return fn, or, where `ins` says .sat, the same clipped to what int32 holds."""
    if "sat" not in ins.modifiers:
        return fn
    if t != "s32":
        raise UnsupportedError(f"modifier sat in {ins.text}")
    return saturated(fn)


def saturated(fn: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Return fn of int32, clipped to what int32 holds."""
    limits = np.iinfo(np.int32)
    return lambda a, b: fn(a.astype(np.int64), b).clip(limits.min, limits.max).astype(np.int32)


@op("alu", "addc", "subc", "madc")
def carried(k: Kernel, ins: Instruction) -> Run:
    """Build sums that leave a carry, take one, or both; a difference's carry is its borrow.

    The carry is a register of its own, "%carry", which no code can name.
    """
    t, takes = ins.types[-1], ins.base.endswith("c")
    ins.allow("cc", "lo", "hi")
    one = numeric(f"u{type_bits(t)}")
    dst = k.dst(ins, ins.operands[0])
    srcs = [k.src(x, t) for x in ins.operands[1:]]
    flag = k.carry()
    leaves = "cc" in ins.modifiers
    if leaves:
        ins.destinations.append(flag)
    part = next((m for m in ins.modifiers if m in ("lo", "hi")), None)
    if (part is None) != (len(srcs) == 2) or type_bits(t) < 32:
        raise UnsupportedError(f"instruction {ins.text}")
    product = None if part is None else multiplier(part, t)[0]
    dec, enc = decode(t), encode(t)

    def run(g: Group) -> None:
        values = [g.regs[s] for s in srcs]
        if product is not None:
            values[:2] = [enc(product(dec(values[0]), dec(values[1])))]
        a: Array = values[0].view(one)
        b: Array = values[1].view(one)
        carry = g.regs[flag].astype(one) if takes else one(0)
        if ins.base.startswith("sub"):
            out = a - b
            over = (a < b) | (out < carry)
            out = out - carry
        else:
            out = a + b
            over = out < a
            out = out + carry
            over = over | (out < carry)
        g.regs[dst] = out
        if leaves:
            g.regs[flag] = over

    return run


@op("alu", "sad")
def _absolute_difference(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow()
    return elementwise(
        k, ins, lambda a, b, c: c + (np.maximum(a, b) - np.minimum(a, b)), [t, t, t], t
    )


@op("alu", "mul24", "mad24")
def _of_24_bits(k: Kernel, ins: Instruction) -> Run:
    t, high = ins.types[-1], "hi" in ins.modifiers
    ins.allow("lo", "hi")
    wide = numeric(f"{t[0]}64")

    def fn(a: Array, b: Array, *c: Array) -> Array:
        a, b = (x.astype(wide) << wide(40) >> wide(40) for x in (a, b))
        out = (a * b >> wide(16 if high else 0)).astype(numeric(t))
        return out + c[0] if c else out

    return elementwise(k, ins, fn, [t] * (len(ins.operands) - 1), t)


@op("alu", "dp4a", "dp2a")
def _dot(k: Kernel, ins: Instruction) -> Run:
    """Add products of bytes: four with four (dp4a), or two halves with two bytes (dp2a)."""
    a_t, b_t = ins.types
    ins.allow("lo", "hi")
    out = "s32" if "s" in (a_t[0], b_t[0]) else "u32"
    bytes_, upper = {t: numeric(f"{t[0]}8") for t in (a_t, b_t)}, "hi" in ins.modifiers

    def fn(a: Array, b: Array, c: Array) -> Array:
        right = split_bits(b, bytes_[b_t]).astype(np.int64)
        if ins.base == "dp4a":
            left = split_bits(a, bytes_[a_t])
        else:
            left, right = split_bits(a, numeric(f"{a_t[0]}16")), right[..., 2 * upper :][..., :2]
        return ((left.astype(np.int64) * right).sum(-1) + c).astype(numeric(out))

    return elementwise(k, ins, fn, ["b32", "b32", out], out)
