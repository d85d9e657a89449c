"""Shifts, masks and permutations: against the PTX ISA, lane by lane."""

from __future__ import annotations

import pytest

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import REGISTER, below, check, ptx, signed

MORE = 16  # rounds, where positions and lengths meet in many ways


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_logic(bits):
    r = REGISTER[bits]
    fns = {"and": lambda x, y: x & y, "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y}
    for name, fn in fns.items():
        check(f"{name}.b{bits} {r}8, {r}0, {r}1;", [bits, bits], bits, fn)
    check(f"not.b{bits} {r}8, {r}0;", [bits], bits, lambda x: ~x)
    check(f"cnot.b{bits} {r}8, {r}0;", [bits], bits, lambda x: x == 0)


def test_logic_of_predicates():
    check("and.pred %p8, %p0, %p1;", [1, 1], 1, lambda a, b: a & b)
    check("or.pred %p8, %p0, %p1;", [1, 1], 1, lambda a, b: a | b)
    check("xor.pred %p8, %p0, %p1;", [1, 1], 1, lambda a, b: a ^ b)
    check("not.pred %p8, %p0;", [1], 1, lambda a: not a)


@pytest.mark.parametrize("t", ["s16", "u16", "s32", "u32", "s64", "u64"])
def test_right_shifts_stop_at_the_width(t):
    bits, r = int(t[1:]), REGISTER[int(t[1:])]
    v = (lambda x: signed(x, bits)) if t[0] == "s" else lambda x: x
    check(f"shr.{t} {r}8, {r}0, %r1;", [bits, 32], bits,
          lambda x, n: v(x) >> min(n, bits), [None, below(80)])  # fmt: skip


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_left_shifts_stop_at_the_width(bits):
    r = REGISTER[bits]
    check(f"shl.b{bits} {r}8, {r}0, %r1;", [bits, 32], bits,
          lambda x, n: x << min(n, 99), [None, below(80)])  # fmt: skip
    check(f"shl.b{bits} {r}8, {r}0, 3;", [bits], bits, lambda x: x << 3)


def extract(a: int, position: int, length: int, bits: int, sign: bool) -> int:
    position, length, last = position & 255, length & 255, bits - 1
    fill = a >> min(position + length - 1, last) & 1 if sign and length else 0
    taken = lambda i: a >> (position + i) & 1 if i < length and position + i <= last else fill  # noqa: E731
    return sum(taken(i) << i for i in range(bits))


def insert(a: int, b: int, position: int, length: int, bits: int) -> int:
    position, length = position & 255, length & 255
    for i in range(length):
        if position + i < bits:
            b = b & ~(1 << (position + i)) | (a >> i & 1) << (position + i)
    return b


@pytest.mark.parametrize("bits", [32, 64])
def test_fields(bits):
    r, places = REGISTER[bits], [below(70), below(70)]
    for t in "us":
        check(f"bfe.{t}{bits} {r}8, {r}0, %r1, %r2;", [bits, 32, 32], bits,
              lambda a, p, n, s=t == "s": extract(a, p, n, bits, s), [None, *places],
              rounds=MORE)  # fmt: skip
    check(f"bfi.b{bits} {r}8, {r}0, {r}1, %r2, %r3;", [bits, bits, 32, 32], bits,
          lambda a, b, p, n: insert(a, b, p, n, bits), [None, None, *places],
          rounds=MORE)  # fmt: skip
    check(f"bfe.s{bits} {r}8, {r}0, 3, 1;", [bits], bits, lambda a: extract(a, 3, 1, bits, True))
    check(f"bfe.u{bits} {r}8, {r}0, %r1, %r2;", [bits, 32, 32], bits,
          lambda a, p, n: extract(a, p, n, bits, False))  # fmt: skip


@pytest.mark.parametrize("bits", [32, 64])
def test_counts(bits):
    r = REGISTER[bits]
    check(f"popc.b{bits} %r8, {r}0;", [bits], 32, lambda x: x.bit_count())
    check(f"clz.b{bits} %r8, {r}0;", [bits], 32, lambda x: bits - x.bit_length())
    check(f"brev.b{bits} {r}8, {r}0;", [bits], bits, lambda x: int(f"{x:0{bits}b}"[::-1], 2))


def test_permutation_of_bytes():
    def prmt(a: int, b: int, selector: int) -> int:
        source, out = [*a.to_bytes(4, "little"), *b.to_bytes(4, "little")], 0
        for i in range(4):
            nibble = selector >> 4 * i & 15
            byte = source[nibble & 7]
            out |= ((255 if byte & 128 else 0) if nibble & 8 else byte) << 8 * i
        return out

    check("prmt.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32, prmt, rounds=MORE)
    check("prmt.b32 %r8, %r0, %r1, 0x5410U;", [32] * 2, 32, lambda a, b: prmt(a, b, 0x5410))


@pytest.mark.parametrize(
    ("mode", "places"),  # of bytes for selectors 0 to 3, the lowest one first
    [
        ("f4e", "0123 1234 2345 3456"), ("b4e", "0765 1076 2107 3210"),
        ("rc8", "0000 1111 2222 3333"), ("ecl", "0123 1123 2223 3333"),
        ("ecr", "0000 0111 0122 0123"), ("rc16", "0101 2323 0101 2323"),
    ],
)  # fmt: skip
def test_modes_of_permutation(mode, places):
    def prmt(a: int, b: int, selector: int) -> int:
        source = [*a.to_bytes(4, "little"), *b.to_bytes(4, "little")]
        chosen = places.split()[selector & 3]
        return sum(source[int(place)] << 8 * i for i, place in enumerate(chosen))

    check(f"prmt.b32.{mode} %r8, %r0, %r1, %r2;", [32] * 3, 32, prmt)


@pytest.mark.parametrize("t", ["u32", "s32", "u64", "s64"])
def test_highest_bits(t):
    bits, r = int(t[1:]), REGISTER[int(t[1:])]

    def find(x: int) -> int:
        return (~signed(x, bits) if t[0] == "s" and signed(x, bits) < 0 else x).bit_length() - 1

    check(f"bfind.{t} %r8, {r}0;", [bits], 32, find)
    check(f"bfind.shiftamt.{t} %r8, {r}0;", [bits], 32,
          lambda x: -1 if find(x) < 0 else bits - 1 - find(x))  # fmt: skip


def test_masks_and_extensions():
    places = [below(40), below(40)]
    check("bmsk.clamp.b32 %r8, %r0, %r1;", [32, 32], 32,
          lambda p, n: ((1 << n) - 1 << p), places, rounds=MORE)  # fmt: skip
    check("bmsk.wrap.b32 %r8, %r0, %r1;", [32, 32], 32,
          lambda p, n: (1 << n % 32) - 1 << p % 32, places)  # fmt: skip
    check("szext.clamp.u32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, n: a & (1 << n) - 1, [None, below(40)])  # fmt: skip
    check("szext.wrap.s32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, n: signed(a & (1 << n % 32) - 1, n % 32) if n % 32 else 0,
          [None, below(40)], rounds=MORE)  # fmt: skip


def test_the_nth_bit_that_is_set():
    def fns(word: int, base: int, n: int) -> int:
        n = signed(n, 32)
        if n == 0:
            return base if word >> base & 1 else -1
        order = range(base, 32) if n > 0 else range(base, -1, -1)
        return ([i for i in order if word >> i & 1] + [-1] * 99)[abs(n) - 1]

    check("fns.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32, fns,
          [None, below(32), lambda r: r.randrange(-9, 10) & 0xFFFFFFFF])  # fmt: skip


@pytest.mark.parametrize("table", [0x00, 0x01, 0x96, 0xCA, 0xE8, 0xFF])
def test_lookup_of_three(table):
    def lop3(a: int, b: int, c: int) -> int:
        bits = ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1) for i in range(32))
        return sum((table >> which & 1) << i for i, which in enumerate(bits))

    check(f"lop3.b32 %r8, %r0, %r1, %r2, {table:#x};", [32] * 3, 32, lop3)


def test_funnel_shifts():
    right, left = lambda a, b, n: (b << 32 | a) >> n, lambda a, b, n: ((b << 32 | a) << n) >> 32
    check("shf.r.wrap.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32, lambda a, b, n: right(a, b, n & 31))
    check("shf.l.wrap.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32, lambda a, b, n: left(a, b, n & 31))
    draws = [None, None, below(40)]
    check("shf.r.clamp.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, n: right(a, b, min(n, 32)), draws)  # fmt: skip
    check("shf.l.clamp.b32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, n: left(a, b, min(n, 32)), draws)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("prmt.b32.f5e %r1, %r2, %r3, %r4;", r"instruction prmt\.b32\.f5e"),
        ("lop3.or.b32 %r1, %r2, %r3, %r4, 1;", "modifier or"),
        ("bmsk.most.b32 %r1, %r2, %r3;", "modifier most"),
    ],
)
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        Kernel(ptx(text), 0, 1)
