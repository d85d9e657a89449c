"""This file builds shifts, masks and other moves of bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnsupportedError
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import Array, join_bits, split_bits, type_bits
from .build import elementwise

U64 = np.uint64


def bit_length(a: Array) -> Array:
    """Return the bit length of unsigned integers, by halving."""
    a, length = a.astype(U64), np.zeros(a.shape, np.uint32)
    for step in (32, 16, 8, 4, 2, 1):
        high = (a >> U64(step)) != 0
        length += np.where(high, np.uint32(step), np.uint32(0))
        a = np.where(high, a >> U64(step), a)
    return length + (a != 0)


def count_bits(a: Array) -> Array:
    return np.unpackbits(split_bits(a, np.uint8), axis=-1).sum(axis=-1)


def reverse_bits(a: Array) -> Array:
    bits = np.unpackbits(split_bits(a, np.uint8), axis=-1, bitorder="little")
    return join_bits(np.packbits(bits[..., ::-1], axis=-1, bitorder="little"), a.dtype.type)


def low_mask(n: Array) -> Array:
    """Return uint64 with the n lowest bits set, n <= 64."""
    return np.where(n > 63, ~U64(0), (U64(1) << np.minimum(n, U64(63))) - U64(1))


@op("alu", "not", "cnot", "popc", "clz", "brev")
def _unary(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1] if ins.types else "pred"
    ins.allow("pred")
    fns: dict[str, Callable[[Array], Array]] = {
        "not": np.invert, "cnot": lambda a: (a == 0).astype(a.dtype), "popc": count_bits,
        "clz": lambda a: type_bits(t) - bit_length(a), "brev": reverse_bits,
    }  # fmt: skip
    return elementwise(k, ins, fns[ins.base], [t], "u32" if ins.base in ("popc", "clz") else t)


@op("alu", "shl", "shr")
def _shift(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow()
    fn, bits = {"shl": np.left_shift, "shr": np.right_shift}[ins.base], type_bits(t)
    return elementwise(
        k, ins, lambda a, n: fn(a, np.minimum(n, bits).astype(a.dtype)), [t, "u32"], t
    )


@op("alu", "shf")
def _funnel(k: Kernel, ins: Instruction) -> Run:
    left, wrap = "l" in ins.modifiers, "wrap" in ins.modifiers
    ins.allow("l", "r", "wrap", "clamp")

    def fn(a: Array, b: Array, n: Array) -> Array:
        both = (b.astype(U64) << U64(32)) | a
        n = (n & 31 if wrap else np.minimum(n, 32)).astype(U64)
        return ((both << n) >> U64(32) if left else both >> n).astype(np.uint32)

    return elementwise(k, ins, fn, ["b32", "b32", "u32"], "b32")


@op("alu", "bfe")
def _extract(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow()
    bits, raw, signed = U64(type_bits(t)), f"b{type_bits(t)}", t[0] == "s"

    def fn(a: Array, position: Array, length: Array) -> Array:
        a, position, length = (x.astype(U64) for x in (a, position & 255, length & 255))
        taken = np.minimum(length, bits - np.minimum(position, bits))  # bits that really come of a
        out = (a >> np.minimum(position, U64(63))) & low_mask(taken)
        if signed:  # the rest are copies of the sign
            top = np.minimum(position + np.maximum(length, U64(1)) - U64(1), bits - U64(1))
            negative = ((a >> top) & U64(1) == 1) & (length > 0)
            out |= np.where(negative, ~low_mask(taken), U64(0))
        return out

    return elementwise(k, ins, fn, [raw, "u32", "u32"], raw)


@op("alu", "bfi")
def _insert(k: Kernel, ins: Instruction) -> Run:
    t = ins.types[-1]
    ins.allow()

    def fn(a: Array, b: Array, position: Array, length: Array) -> Array:
        position, length = ((x & 255).astype(U64) for x in (position, length))
        shift = np.minimum(position, U64(63))
        mask = np.where(position > 63, U64(0), low_mask(length) << shift)
        return ((a.astype(U64) << shift) & mask) | (b & ~mask)

    return elementwise(k, ins, fn, [t, t, "u32", "u32"], t)


# which bytes of two words each place of the result takes, by the mode and the selector's low bits
BYTES = np.arange(4)
MODES: dict[str, Callable[[int], Array]] = {
    "f4e": lambda n: n + BYTES, "b4e": lambda n: (n - BYTES) & 7, "rc8": lambda n: 0 * BYTES + n,
    "ecl": lambda n: np.maximum(BYTES, n), "ecr": lambda n: np.minimum(BYTES, n),
    "rc16": lambda n: 2 * (n & 1) + (BYTES & 1),
}  # fmt: skip


@op("alu", "prmt")
def _permute(k: Kernel, ins: Instruction) -> Run:
    mode = next((m for m in ins.modifiers if m in MODES), None)
    if ins.modifiers != ["b32", *([mode] if mode else [])]:
        raise UnsupportedError(f"instruction {ins.text}")
    table = None if mode is None else np.array([MODES[mode](n) for n in range(4)])

    def fn(a: Array, b: Array, selector: Array) -> Array:
        a, b, selector = np.broadcast_arrays(a, b, selector)
        source = np.concatenate([split_bits(x, np.uint8) for x in (a, b)], axis=-1)  # [..., 8]
        if table is not None:
            return join_bits(np.take_along_axis(source, table[selector & 3], axis=-1), np.uint32)
        nibble = (selector[..., None] >> np.arange(0, 16, 4, dtype=np.uint32)) & 15
        byte = np.take_along_axis(source, (nibble & 7).astype(np.int64), axis=-1)
        sign = np.where(byte & 128, 255, 0)
        return join_bits(np.where(nibble & 8, sign, byte).astype(np.uint8), np.uint32)

    return elementwise(k, ins, fn, ["b32", "b32", "u32"], "b32")


@op("alu", "bfind")
def _find(k: Kernel, ins: Instruction) -> Run:
    """Find the highest bit that is not the sign's, from below or, for a shift, from above."""
    t = ins.types[-1]
    ins.allow("shiftamt")
    bits, raw, signed = type_bits(t), f"b{type_bits(t)}", t[0] == "s"

    def fn(a: Array) -> Array:
        if signed:
            a = np.where(a >> a.dtype.type(bits - 1), ~a, a)
        length = bit_length(a)
        place = bits - length if "shiftamt" in ins.modifiers else length - 1
        return np.where(length == 0, np.uint32(0xFFFFFFFF), place.astype(np.uint32))

    return elementwise(k, ins, fn, [raw], "u32")


@op("alu", "bmsk")
def _mask(k: Kernel, ins: Instruction) -> Run:
    wrap = "wrap" in ins.modifiers
    ins.allow("wrap", "clamp")

    def fn(position: Array, length: Array) -> Array:
        position, length = position.astype(U64), length.astype(U64)
        if wrap:
            position, length = position & U64(31), length & U64(31)
        mask = low_mask(np.minimum(length, U64(32))) << np.minimum(position, U64(32))
        return mask.astype(np.uint32)

    return elementwise(k, ins, fn, ["u32", "u32"], "u32")


@op("alu", "szext")
def _extend(k: Kernel, ins: Instruction) -> Run:
    """Extend the lowest n bits by zeros or by the highest of them."""
    wrap, signed = "wrap" in ins.modifiers, ins.types[-1][0] == "s"
    ins.allow("wrap", "clamp")

    def fn(a: Array, n: Array) -> Array:
        a, n = a.astype(U64), (n & 31 if wrap else np.minimum(n, 32)).astype(U64)
        out = a & low_mask(n)
        top = np.where(n > 0, a >> (np.maximum(n, U64(1)) - U64(1)) & U64(1), U64(0))
        return (out | np.where(signed & (top == 1), ~low_mask(n), U64(0))).astype(np.uint32)

    return elementwise(k, ins, fn, ["b32", "u32"], "b32")


@op("alu", "fns")
def _find_nth(k: Kernel, ins: Instruction) -> Run:
    """Find the n-th set bit from a base on, upward or, for negative n, downward."""

    def find(word: int, base: int, n: int) -> int:
        if n == 0:
            return base if word >> base & 1 else 0xFFFFFFFF
        places = range(base, 32) if n > 0 else range(base, -1, -1)
        found = [i for i in places if word >> i & 1]
        return found[abs(n) - 1] if len(found) >= abs(n) else 0xFFFFFFFF

    every = np.frompyfunc(find, 3, 1)
    return elementwise(
        k, ins, lambda a, b, n: every(a, b & 31, n).astype(np.uint32), ["b32", "u32", "s32"], "u32"
    )


@op("alu", "lop3")
def _lop3(k: Kernel, ins: Instruction) -> Run:
    ins.allow()
    table = int(ins.operands[4], 0)

    def fn(a: Array, b: Array, c: Array) -> Array:
        out = np.zeros_like(a)
        for i in range(8):
            if table >> i & 1:
                out = out | (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
        return out

    return elementwise(k, ins, fn, ["b32"] * 3, "b32", ins.operands[1:4])
