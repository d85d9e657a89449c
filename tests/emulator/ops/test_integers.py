"""Carries, products of bytes, sums of differences: against the PTX ISA, lane by lane."""

from __future__ import annotations

import pytest

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import below, check, mask, ptx, signed

WIDE = "mov.b64 %rd8, {%r10, %r11};"  # the result of two halves
SPLIT = "mov.b64 {%r0, %r1}, %rd0; mov.b64 {%r2, %r3}, %rd1;"


def test_carries_through_sums_and_differences():
    check(f"{SPLIT} add.cc.u32 %r10, %r0, %r2; addc.u32 %r11, %r1, %r3; {WIDE}",
          [64, 64], 64, lambda x, y: x + y)  # fmt: skip
    check(f"{SPLIT} sub.cc.s32 %r10, %r0, %r2; subc.s32 %r11, %r1, %r3; {WIDE}",
          [64, 64], 64, lambda x, y: x - y)  # fmt: skip
    chain = "add.cc.u64 %rd3, %rd0, %rd1; addc.cc.u64 %rd4, %rd1, %rd0; addc.u64 %rd8, %rd2, 0;"
    check(chain, [64] * 3, 64, lambda x, y, z: z + (x + y + (x + y >> 64) >> 64))
    chain = "sub.cc.u64 %rd3, %rd0, %rd1; subc.cc.u64 %rd4, %rd2, %rd1; subc.u64 %rd8, 0, 0;"
    check(chain, [64] * 3, 64, lambda x, y, z: -(z - y - (x < y) < 0))


@pytest.mark.parametrize("bits", [32, 64])
def test_carries_through_products(bits):
    """The upper half of a * b + c with twice the bits, as libdevice reduces angles."""
    r = {32: "%r", 64: "%rd"}[bits]
    text = (f"mad.lo.cc.u{bits} {r}4, {r}0, {r}1, {r}2; madc.hi.cc.u{bits} {r}8, {r}0, {r}1, {r}3;"
            f"addc.u{bits} {r}5, 0, 0;")  # fmt: skip
    check(text, [bits] * 4, bits, lambda a, b, c, d: (a * b + (d << bits) + c) >> bits)
    check(text + f"mov.u{bits} {r}8, {r}5;", [bits] * 4, bits,
          lambda a, b, c, d: (a * b + (d << bits) + c) >> 2 * bits)  # fmt: skip


def test_a_predicate_keeps_the_carry():
    text = """setp.ne.u32 %p1, %r2, 0; add.cc.u32 %r3, -1, 1; @%p1 add.cc.u32 %r3, %r0, %r1;
        addc.u32 %r8, 0, 0;"""
    check(text, [32, 32, 32], 32, lambda a, b, p: a + b >> 32 if p else 1, [None, None, below(2)])


def test_saturated_sums():
    top, bottom = mask(31), -(1 << 31)
    clip = lambda x: min(max(x, bottom), top)  # noqa: E731
    check("add.sat.s32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: clip(signed(a, 32) + signed(b, 32)))  # fmt: skip
    check("sub.sat.s32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: clip(signed(a, 32) - signed(b, 32)))  # fmt: skip
    check("mad.hi.sat.s32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, c: clip((signed(a, 32) * signed(b, 32) >> 32) + signed(c, 32)))  # fmt: skip


@pytest.mark.parametrize("t", ["s16", "u16", "s32", "u32", "s64", "u64"])
def test_absolute_differences(t):
    bits, r = int(t[1:]), {"16": "%rs", "32": "%r", "64": "%rd"}[t[1:]]
    v = (lambda x: signed(x, bits)) if t[0] == "s" else lambda x: x
    check(f"sad.{t} {r}8, {r}0, {r}1, {r}2;", [bits] * 3, bits,
          lambda a, b, c: abs(v(a) - v(b)) + c)  # fmt: skip


def test_products_of_24_bits():
    check("mul24.lo.s32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: signed(a & mask(24), 24) * signed(b & mask(24), 24))  # fmt: skip
    check("mul24.hi.u32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: (a & mask(24)) * (b & mask(24)) >> 16)  # fmt: skip
    check("mad24.lo.u32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, c: (a & mask(24)) * (b & mask(24)) + c)  # fmt: skip


def parts(x: int, bits: int, t: str) -> list[int]:
    pieces = [x >> at & mask(bits) for at in range(0, 32, bits)]
    return [signed(piece, bits) if t == "s" else piece for piece in pieces]


@pytest.mark.parametrize("a", "su")
@pytest.mark.parametrize("b", "su")
def test_products_of_bytes(a, b):
    def dp4a(x: int, y: int, z: int) -> int:
        return z + sum(p * q for p, q in zip(parts(x, 8, a), parts(y, 8, b), strict=True))

    def dp2a(at: int):
        def dot(x: int, y: int, z: int) -> int:
            return z + sum(
                p * q for p, q in zip(parts(x, 16, a), parts(y, 8, b)[at : at + 2], strict=True)
            )

        return dot

    check(f"dp4a.{a}32.{b}32 %r8, %r0, %r1, %r2;", [32] * 3, 32, dp4a)
    check(f"dp2a.lo.{a}32.{b}32 %r8, %r0, %r1, %r2;", [32] * 3, 32, dp2a(0))
    check(f"dp2a.hi.{a}32.{b}32 %r8, %r0, %r1, %r2;", [32] * 3, 32, dp2a(2))


@pytest.mark.parametrize("text", ["add.cc.u16 %rs1, %rs2, %rs3;", "madc.u32 %r1, %r2, %r3, %r4;"])
def test_refusals_name_the_instruction(text):
    with pytest.raises(UnsupportedError, match=text.split(" ")[0]):
        Kernel(ptx(text), 0, 1)
