"""Sums, products, comparisons, functions: against the PTX ISA, lane by lane."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import (
    LANES,
    REGISTER,
    b16,
    b32,
    bbf16,
    below,
    bf16,
    brain_pairs,
    brains,
    check,
    execute,
    f16,
    f32,
    float_pairs,
    floats,
    half_pairs,
    halves,
    mask,
    nan_or,
    nonzero,
    odd_floats,
    pairs,
    ptx,
    signed,
)

INTEGERS = ("s16", "u16", "s32", "u32", "s64", "u64")
COMPARISONS = {
    "lt": lambda x, y: x < y, "le": lambda x, y: x <= y, "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y, "eq": lambda x, y: x == y, "ne": lambda x, y: x != y,
}  # fmt: skip
SUMS = {"add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y}


def number(t: str) -> tuple[int, str, Callable[[int], int]]:
    """(bits, register prefix, from raw bits to the number) of an integer type."""
    bits = int(t[1:])
    return bits, REGISTER[bits], (lambda x: signed(x, bits)) if t[0] == "s" else lambda x: x


@pytest.mark.parametrize("t", INTEGERS)
def test_integers(t):
    b, r, v = number(t)
    check(f"add.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: x + y)
    check(f"sub.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: x - y)
    check(f"mul.lo.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: x * y)
    check(f"mul.hi.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: v(x) * v(y) >> b)
    check(f"mad.lo.{t} {r}8, {r}0, {r}1, {r}2;", [b] * 3, b, lambda x, y, z: x * y + z)
    check(f"min.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: min(v(x), v(y)))
    check(f"max.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: max(v(x), v(y)))


@pytest.mark.parametrize("t", ["s16", "u16", "s32", "u32"])
def test_wide_products(t):
    b, r, v = number(t)
    w = REGISTER[2 * b]
    check(f"mul.wide.{t} {w}8, {r}0, {r}1;", [b, b], 2 * b, lambda x, y: v(x) * v(y))
    check(
        f"mad.wide.{t} {w}8, {r}0, {r}1, {w}2;", [b, b, 2 * b], 2 * b,
        lambda x, y, z: v(x) * v(y) + z,
    )  # fmt: skip
    check(f"mad.hi.{t} {r}8, {r}0, {r}1, {r}2;", [b] * 3, b,
          lambda x, y, z: (v(x) * v(y) >> b) + z)  # fmt: skip


@pytest.mark.parametrize("t", INTEGERS)
def test_division_truncates(t):
    b, r, v = number(t)

    def div(x: int, y: int) -> int:
        quotient = abs(v(x)) // abs(v(y))
        return quotient if (v(x) < 0) == (v(y) < 0) else -quotient

    check(f"div.{t} {r}8, {r}0, {r}1;", [b, b], b, div, [None, nonzero(b)])
    check(
        f"rem.{t} {r}8, {r}0, {r}1;", [b, b], b, lambda x, y: v(x) - v(y) * signed(div(x, y), b + 1)
        if t[0] == "s" else x % y, [None, nonzero(b)],
    )  # fmt: skip


@pytest.mark.parametrize("t", INTEGERS)
@pytest.mark.parametrize("name", COMPARISONS)
def test_integer_comparisons(t, name):
    b, r, v = number(t)
    check(f"setp.{name}.{t} %p8, {r}0, {r}1;", [b, b], 1,
          lambda x, y: COMPARISONS[name](v(x), v(y)), [below(4), below(4)])  # fmt: skip
    check(f"setp.{name}.{t} %p8, {r}0, {r}1;", [b, b], 1,
          lambda x, y: COMPARISONS[name](v(x), v(y)))  # fmt: skip


@pytest.mark.parametrize(
    ("alias", "name"), [("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")]
)
def test_unsigned_aliases_of_comparisons(alias, name):
    check(f"setp.{alias}.u32 %p8, %r0, %r1;", [32, 32], 1, COMPARISONS[name])


def test_comparisons_that_combine_predicates():
    sets = "setp.lt.{}.s32 %p8{}, %r0, %r1, {};"
    less = lambda a, b: signed(a, 32) < signed(b, 32)  # noqa: E731
    ins, draws = [32, 32, 1], [None, None, below(2)]
    check(sets.format("and", "", "%p2"), ins, 1, lambda a, b, p: less(a, b) and p, draws)
    check(sets.format("or", "|%p7", "!%p2"), ins, 1, lambda a, b, p: less(a, b) or not p, draws)
    check(sets.format("xor", "", "%p2"), ins, 1, lambda a, b, p: less(a, b) != p, draws)
    second = "setp.lt.and.s32 %p7|%p8, %r0, %r1, %p2;"
    check(second, ins, 1, lambda a, b, p: not less(a, b) and p, draws)


@pytest.mark.parametrize("name", COMPARISONS)
def test_float_comparisons(name):
    def compare(unordered: bool):
        def fn(a: int, b: int) -> bool:
            x, y = f32(a), f32(b)
            if math.isnan(x) or math.isnan(y):
                return unordered
            return COMPARISONS[name](x, y)

        return fn

    draws = [odd_floats, odd_floats]
    check(f"setp.{name}.f32 %p8, %r0, %r1;", [32, 32], 1, compare(False), draws, rounds=8)
    check(f"setp.{name}u.f32 %p8, %r0, %r1;", [32, 32], 1, compare(True), draws, rounds=8)


def test_comparisons_of_pairs_have_a_predicate_each():
    less = lambda a, b: (f16(a & 0xFFFF) < f16(b & 0xFFFF), f16(a >> 16) < f16(b >> 16))  # noqa: E731
    text = "setp.lt.f16x2 %p8|%p7, %r0, %r1;"
    draws = [half_pairs, half_pairs]
    check(text, [32, 32], 1, lambda a, b: less(a, b)[0], draws)
    check(text + "mov.pred %p8, %p7;", [32, 32], 1, lambda a, b: less(a, b)[1], draws)


def test_comparisons_whose_result_is_a_number():
    less = lambda a, b: mask(32) * (signed(a, 32) < signed(b, 32))  # noqa: E731
    check("set.lt.u32.s32 %r8, %r0, %r1;", [32, 32], 32, less, [below(4), below(4)])
    check("set.ge.f32.f32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: b32(float(f32(a) >= f32(b))), [odd_floats] * 2)  # fmt: skip
    check("slct.b32.s32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, c: a if signed(c, 32) >= 0 else b)  # fmt: skip
    check("slct.u64.f32 %rd8, %rd0, %rd1, %r2;", [64, 64, 32], 64,
          lambda a, b, c: a if f32(c) >= 0 else b, [None, None, floats()])  # fmt: skip


def test_comparisons_with_nan():
    isnan = lambda a, b: math.isnan(f32(a)) or math.isnan(f32(b))  # noqa: E731
    draws = [nan_or(floats()), nan_or(floats())]
    check("setp.nan.f32 %p8, %r0, %r1;", [32, 32], 1, isnan, draws)
    check("setp.num.f32 %p8, %r0, %r1;", [32, 32], 1, lambda a, b: not isnan(a, b), draws)


@pytest.mark.parametrize("name", SUMS)
def test_float_sums_and_products(name):
    fn = SUMS[name]
    for rounding in ("", ".rn", ".ftz"):
        check(f"{name}{rounding}.f32 %r8, %r0, %r1;", [32, 32], 32,
              lambda a, b: b32(fn(f32(a), f32(b))), [floats()] * 2)  # fmt: skip
    check(f"{name}.f16 %rs8, %rs0, %rs1;", [16, 16], 16,
          lambda a, b: b16(fn(f16(a), f16(b))), [halves] * 2)  # fmt: skip
    check(f"{name}.rn.bf16 %rs8, %rs0, %rs1;", [16, 16], 16,
          lambda a, b: bbf16(fn(bf16(a), bf16(b))), [brains] * 2)  # fmt: skip
    check(f"{name}.f16x2 %r8, %r0, %r1;", [32, 32], 32,
          pairs(f16, b16, 16, fn), [half_pairs] * 2)  # fmt: skip
    check(f"{name}.rn.bf16x2 %r8, %r0, %r1;", [32, 32], 32,
          pairs(bf16, bbf16, 16, fn), [brain_pairs] * 2)  # fmt: skip
    check(f"{name}.rn.f32x2 %rd8, %rd0, %rd1;", [64, 64], 64,
          pairs(f32, b32, 32, fn), [float_pairs] * 2)  # fmt: skip


def test_sums_of_a_half_and_a_float():
    for t, decode, draw in (("f16", f16, halves), ("bf16", bf16, brains)):
        check(f"add.rn.f32.{t} %r8, %rs0, %r1;", [16, 32], 32,
              lambda a, b, d=decode: b32(d(a) + f32(b)), [draw, floats(-8, 8)])  # fmt: skip
        check(f"sub.rn.f32.{t} %r8, %rs0, %r1;", [16, 32], 32,
              lambda a, b, d=decode: b32(d(a) - f32(b)), [draw, floats(-8, 8)])  # fmt: skip


def test_packed_integers():
    split = lambda fn: pairs(lambda x: x, lambda x: x & 0xFFFF, 16, fn)  # noqa: E731
    check("add.s16x2 %r8, %r0, %r1;", [32, 32], 32, split(lambda x, y: x + y))
    check("max.s16x2 %r8, %r0, %r1;", [32, 32], 32,
          split(lambda x, y: max(x, y, key=lambda v: signed(v, 16))))  # fmt: skip


def exact(a: float, b: float, c: float) -> Fraction:
    return Fraction(a) * Fraction(b) + Fraction(c)


def test_fused_products_round_once():
    check("fma.rn.f32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda *x: b32(float(exact(*map(f32, x)))), [floats(-5, 5)] * 3, rounds=16)  # fmt: skip
    check("fma.rn.f16 %rs8, %rs0, %rs1, %rs2;", [16] * 3, 16,
          lambda *x: b16(float(exact(*map(f16, x)))), [halves] * 3, rounds=16)  # fmt: skip
    check("fma.rn.bf16 %rs8, %rs0, %rs1, %rs2;", [16] * 3, 16,
          lambda *x: bbf16(float(exact(*map(bf16, x)))), [brains] * 3)  # fmt: skip
    fma = lambda *x: float(exact(*x))  # noqa: E731
    check("fma.rn.f16x2 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          pairs(f16, b16, 16, fma), [half_pairs] * 3)  # fmt: skip
    check("fma.rn.f32x2 %rd8, %rd0, %rd1, %rd2;", [64] * 3, 64,
          pairs(f32, b32, 32, fma), [float_pairs] * 3)  # fmt: skip
    # cancellation, where a rounded product leaves nothing: (1 + e)(1 - e) - 1 = -e * e
    one_more, one_less = np.float32(1 + 2**-12), np.float32(1 - 2**-12)
    values = {f"%r{i}": np.full((1, 1), np.float32(x)).view(np.uint32)
              for i, x in enumerate((one_more, one_less, -1))}  # fmt: skip
    (found,) = execute("fma.rn.f32 %r8, %r0, %r1, %r2;", values, "%r8")
    assert f32(int(found[0, 0])) == -(2.0**-24)


@pytest.mark.parametrize(("name", "pick"), [("max", max), ("min", min)])
def test_extremes(name, pick):
    def fn(propagate: bool, decode, encode, nan: int):
        def extreme(a: int, b: int) -> int:
            x, y = decode(a), decode(b)
            if math.isnan(x) or math.isnan(y):
                both = math.isnan(x) and math.isnan(y)
                return nan if propagate or both else (b if math.isnan(x) else a)
            return encode(pick(x, y))

        return extreme

    draws = [nan_or(floats())] * 2
    check(f"{name}.f32 %r8, %r0, %r1;", [32] * 2, 32, fn(False, f32, b32, 0x7FFFFFFF), draws)
    check(f"{name}.NaN.f32 %r8, %r0, %r1;", [32] * 2, 32, fn(True, f32, b32, 0x7FFFFFFF), draws)
    three = fn(True, f32, b32, 0x7FFFFFFF)
    check(f"{name}.NaN.f32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda a, b, c: three(three(a, b), c), [nan_or(floats())] * 3)  # fmt: skip
    check(f"{name}.NaN.f16 %rs8, %rs0, %rs1;", [16] * 2, 16, fn(True, f16, b16, 0x7FFF),
          [nan_or(halves, 0x7FFF)] * 2)  # fmt: skip
    packed = lambda r: nan_or(halves, 0x7FFF)(r) | nan_or(halves, 0x7FFF)(r) << 16  # noqa: E731
    half = fn(True, f16, b16, 0x7FFF)
    check(f"{name}.NaN.f16x2 %r8, %r0, %r1;", [32] * 2, 32,
          lambda a, b: half(a & 0xFFFF, b & 0xFFFF) | half(a >> 16, b >> 16) << 16,
          [packed] * 2)  # fmt: skip
    check(f"{name}.f32 %r8, %r0, 0f00000000;", [32], 32, lambda a: b32(pick(f32(a), 0.0)),
          [floats()])  # fmt: skip


def test_extremes_of_sizes():
    """The sign of the product, or none; of two halves, and of three floats."""

    def largest(*x: int) -> int:
        sign = 0
        for value in x:
            sign ^= value & 1 << 31
        return sign | max(value & mask(31) for value in x)

    check("max.xorsign.abs.f32 %r8, %r0, %r1;", [32, 32], 32, largest, [floats()] * 2)
    check("max.xorsign.abs.f32 %r8, %r0, %r1, %r2;", [32] * 3, 32, largest, [floats()] * 3)
    smaller = lambda a, b: (a ^ b) & 1 << 31 | min(a & mask(31), b & mask(31))  # noqa: E731
    check("min.NaN.xorsign.abs.f32 %r8, %r0, %r1;", [32, 32], 32, smaller, [floats()] * 2)
    check("min.abs.f32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda *x: min(value & mask(31) for value in x), [floats()] * 3)  # fmt: skip
    half = lambda a, b: (a ^ b) & 1 << 15 | max(a & mask(15), b & mask(15))  # noqa: E731
    check("max.xorsign.abs.f16x2 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: half(a & 0xFFFF, b & 0xFFFF) | half(a >> 16, b >> 16) << 16,
          [half_pairs] * 2)  # fmt: skip
    check("max.s32.relu %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: max(signed(a, 32), signed(b, 32), 0))  # fmt: skip


def test_clipped_results():
    clip = lambda x: min(max(x, 0.0), 1.0)  # noqa: E731
    near = [floats(-4, 1)] * 3
    check("add.sat.f32 %r8, %r0, %r1;", [32, 32], 32, lambda a, b: b32(clip(f32(a) + f32(b))),
          near[:2])  # fmt: skip
    check("fma.rn.sat.f32 %r8, %r0, %r1, %r2;", [32] * 3, 32,
          lambda *x: b32(clip(float(exact(*map(f32, x))))), near)  # fmt: skip
    check("fma.rn.relu.f16 %rs8, %rs0, %rs1, %rs2;", [16] * 3, 16,
          lambda *x: b16(max(float(exact(*map(f16, x))), 0.0)), [halves] * 3)  # fmt: skip
    check("mul.sat.f32 %r8, %r0, 0f7FC00000;", [32], 32, lambda a: 0, [floats()])


def test_rounding_modes_of_instructions():
    """One third lies between these two, in each mode and type."""
    third = {"rm": 0x3EAAAAAA, "rz": 0x3EAAAAAA, "rp": 0x3EAAAAAB}
    for mode, bits in third.items():
        check(f"div.{mode}.f32 %r8, %r0, 0f40400000;", [32], 32, lambda a, b=bits: b,
              [lambda r: b32(1.0)])  # fmt: skip
        check(f"fma.{mode}.ftz.f32 %r8, %r0, 0f3F800000, 0f00000001;", [32], 32,
              lambda a, m=mode: a + (m == "rp"), [lambda r: b32(1.0)])  # fmt: skip
        check(f"add.{mode}.f32x2 %rd8, %rd0, %rd1;", [64, 64], 64,
              lambda a, b, m=mode: a + (m == "rp") * 0x100000001,
              [lambda r: 0x3F8000003F800000, lambda r: 0x100000001])  # fmt: skip
    check("fma.rn.f32.f16 %r8, %rs0, %rs1, %r2;", [16, 16, 32], 32,
          lambda a, b, c: b32(float(exact(f16(a), f16(b), f32(c)))),
          [halves, halves, floats(-5, 5)])  # fmt: skip


def test_kinds_of_numbers():
    kinds = {
        "finite": math.isfinite, "infinite": math.isinf, "notanumber": math.isnan,
        "number": lambda x: not math.isnan(x), "subnormal": lambda x: 0 < abs(x) < 2.0**-126,
        "normal": lambda x: math.isfinite(x) and abs(x) >= 2.0**-126,
    }  # fmt: skip
    draw = lambda r: r.choice([1, odd_floats(r)])  # noqa: E731
    for name, fn in kinds.items():
        check(f"testp.{name}.f32 %p8, %r0;", [32], 1, lambda a, fn=fn: fn(f32(a)), [draw])


def test_signs():
    check("neg.f16x2 %r8, %r0;", [32], 32, lambda a: a ^ 0x80008000, [half_pairs])
    check("neg.f32 %r8, %r0;", [32], 32, lambda a: a ^ 0x80000000, [floats()])
    check("abs.f32 %r8, %r0;", [32], 32, lambda a: a & mask(31), [floats()])
    check("copysign.f32 %r8, %r0, %r1;", [32, 32], 32,
          lambda a, b: b & mask(31) | a & 1 << 31, [floats()] * 2)  # fmt: skip
    for bits in (16, 32, 64):
        r = REGISTER[bits]
        check(f"neg.s{bits} {r}8, {r}0;", [bits], bits, lambda x: -x)
        check(f"abs.s{bits} {r}8, {r}0;", [bits], bits, lambda x, b=bits: abs(signed(x, b)))


def test_quotients():
    for form in ("div.rn", "div.full"):
        check(f"{form}.f32 %r8, %r0, %r1;", [32, 32], 32,
              lambda a, b: b32(f32(a) / f32(b)), [floats()] * 2)  # fmt: skip
    check("rcp.rn.f32 %r8, %r0;", [32], 32, lambda a: b32(1 / f32(a)), [floats()])
    check("sqrt.rn.f32 %r8, %r0;", [32], 32, lambda a: b32(math.sqrt(f32(a))),
          [lambda r: floats()(r) & mask(31)])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("ex2", lambda x: 2.0**x), ("lg2", lambda x: math.log2(abs(x))), ("sin", math.sin),
        ("cos", math.cos), ("tanh", math.tanh), ("rsqrt", lambda x: 1 / math.sqrt(abs(x))),
    ],
)  # fmt: skip
def test_functions(name, fn):
    x = np.linspace(0.1, 3, LANES, dtype=np.float32)
    (found,) = execute(f"{name}.approx.f32 %r8, %r0;", {"%r0": x.view(np.uint32)[None]}, "%r8")
    wanted = [fn(float(value)) for value in x]
    np.testing.assert_allclose(found.view(np.float32)[-1], wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_select(bits):
    r = REGISTER[bits]
    check(f"selp.b{bits} {r}8, {r}0, {r}1, %p2;", [bits, bits, 1], bits,
          lambda x, y, p: x if p else y)  # fmt: skip


def test_a_predicate_keeps_the_other_lanes():
    for sign in ("", "!"):
        text = f"mov.u32 %r8, 5;\nsetp.gt.s32 %p1, %r0, 0;\n@{sign}%p1 add.s32 %r8, %r0, 7;"
        check(text, [32], 32,
              lambda a, s=sign: a + 7 if (signed(a, 32) > 0) != (s == "!") else 5)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("add.sat.u32 %r1, %r2, %r3;", r"modifier sat in add\.sat\.u32"),
        ("add.rz.f16 %rs1, %rs2, %rs3;", r"modifier rz in add\.rz\.f16"),
        ("mul.rn.relu.s32 %r1, %r2, %r3;", "modifier relu"),
        ("max.xorsign.abs.s32 %r1, %r2, %r3;", "modifier xorsign, abs"),
        ("mul.f32.f16 %r1, %rs2, %r3;", "mixed types"),
        ("add.f32.s32 %r1, %r2, %r3;", "mixed types"),
        ("mul.wide.u64 %rd1, %rd2, %rd3;", "mul.wide of 64 bits"),
        ("set.lt.and.u32.f32 %r1, %r2, %r3, %p1;", r"set\.lt\.and"),
        ("setp.maybe.s32 %p1, %r2, %r3;", r"setp\.maybe\.s32"),
        ("ex2.rz.f32 %r1, %r2;", r"modifier rz in ex2\.rz\.f32"),
        ("mul.s32 %r1, %r2, %r3;", r"mul\.s32"),
        ("add.s32 %r1, %r2, %r3, %r4;", r"3 sources in add\.s32"),
        ("not.b32 %r1, %r2, %r3;", r"2 sources in not\.b32"),
    ],
)
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        Kernel(ptx(text), 0, 1)
