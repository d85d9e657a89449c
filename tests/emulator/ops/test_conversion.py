"""Conversions: against the PTX ISA, lane by lane."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import (
    REGISTER,
    b16,
    b32,
    bbf16,
    brains,
    check,
    execute,
    f16,
    f32,
    floats,
    half_pairs,
    halves,
    mask,
    odd_floats,
    ptx,
    signed,
)

WIDTH = {8: 16, 16: 16, 32: 32, 64: 64}  # of the register that holds a type


@pytest.mark.parametrize(
    ("to", "source"),
    [
        ("u32", "u16"), ("s32", "s16"), ("u64", "u32"), ("s64", "s32"), ("u32", "u64"),
        ("u16", "u32"), ("u16", "u64"), ("u64", "u16"), ("s64", "s16"), ("s32", "s8"),
        ("s16", "s8"), ("s64", "s8"), ("u32", "u8"), ("s8", "s32"), ("s8", "s64"), ("u8", "u32"),
        ("u32", "s16"), ("s32", "u16"), ("u64", "s32"),
    ],
)  # fmt: skip
def test_integers(to, source):
    bits, out = int(source[1:]), int(to[1:])

    def convert(x: int) -> int:
        x &= mask(bits)
        x = (signed(x, bits) if source[0] == "s" else x) & mask(out)
        # a narrow result fills a wider register by its own signedness
        return signed(x, out) if to[0] == "s" else x

    a, b = REGISTER[WIDTH[bits]], REGISTER[WIDTH[out]]
    check(f"cvt.{to}.{source} {b}8, {a}0;", [WIDTH[bits]], WIDTH[out], convert)
    if bits == 8:  # a byte in a wider register
        check(f"cvt.{to}.{source} {b}8, %r0;", [32], WIDTH[out], convert)


ROUND = {"rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil, "rni": round}


def to_integer(x: float, low: int, high: int, how: str, nan: int = 0) -> int:
    """Saturated; NaN is 0 in up to 32 bits."""
    if math.isnan(x):
        return nan
    if math.isinf(x):
        return high if x > 0 else low
    return max(low, min(high, ROUND[how](x)))


@pytest.mark.parametrize("how", ROUND)
def test_floats_to_integers(how):
    for t, low, high in (("s32", -(2**31), 2**31 - 1), ("u32", 0, 2**32 - 1)):
        check(f"cvt.{how}.{t}.f32 %r8, %r0;", [32], 32,
              lambda x, a=low, b=high: to_integer(f32(x), a, b, how), [odd_floats])  # fmt: skip
    check(f"cvt.{how}.s64.f32 %rd8, %r0;", [32], 64,
          lambda x: to_integer(f32(x), -(2**63), mask(63), how, 1 << 63), [odd_floats])  # fmt: skip
    check(f"cvt.{how}.s16.f16 %rs8, %rs0;", [16], 16,
          lambda x: to_integer(f16(x), -(2**15), 2**15 - 1, how), [halves])  # fmt: skip
    whole = lambda r: b32(r.choice([r.uniform(0.6, 90), -r.uniform(1.1, 90), 2.5, 3.5]))  # noqa: E731
    check(f"cvt.{how}.f32.f32 %r8, %r0;", [32], 32, lambda x: b32(float(ROUND[how](f32(x)))),
          [whole])  # fmt: skip


def test_integers_to_floats():
    check("cvt.rn.f32.s32 %r8, %r0;", [32], 32, lambda x: b32(signed(x, 32)))
    check("cvt.rn.f32.u32 %r8, %r0;", [32], 32, lambda x: b32(x))
    check("cvt.rn.f32.u64 %r8, %rd0;", [64], 32, lambda x: int(np.float32(np.uint64(x)).view("u4")))
    check("cvt.rn.f16.s32 %rs8, %r0;", [32], 16, lambda x: b16(signed(x, 32)))


def test_floats_to_floats():
    check("cvt.rn.f16.f32 %rs8, %r0;", [32], 16, lambda x: b16(f32(x)), [floats(-28, 17)],
          rounds=16)  # fmt: skip
    check("cvt.f32.f16 %r8, %rs0;", [16], 32, lambda x: b32(f16(x)), [halves])
    tie = lambda r: r.choice([floats()(r), floats()(r) & 0xFFFF0000 | 0x8000, floats()(r) | 0xFFFF])  # noqa: E731
    check("cvt.rn.bf16.f32 %rs8, %r0;", [32], 16, lambda x: bbf16(f32(x)), [tie], rounds=16)
    check("cvt.f32.bf16 %r8, %rs0;", [16], 32, lambda x: x << 16, [brains])
    relu = lambda x: 0x7FFF if math.isnan(f32(x)) else b16(max(f32(x), 0.0))  # noqa: E731
    (poison,) = execute("cvt.rn.relu.f16.f32 %rs8, %r0;",
                        {"%r0": np.full((1, 1), mask(31), np.uint32)}, "%rs8")  # fmt: skip
    assert np.isnan(poison.view(np.float16)).all()
    check("cvt.rn.relu.f16.f32 %rs8, %r0;", [32], 16, relu, [floats(-10, 10)])
    check("cvt.sat.f32.f32 %r8, %r0;", [32], 32, lambda x: b32(min(max(f32(x), 0.0), 1.0)),
          [floats(-3, 3)])  # fmt: skip


def test_packed_pairs_have_the_first_operand_on_top():
    draws = [floats(-10, 10)] * 2
    for t, encode in (("f16x2", b16), ("bf16x2", bbf16)):
        check(f"cvt.rn.{t}.f32 %r8, %r0, %r1;", [32, 32], 32,
              lambda a, b, e=encode: e(f32(a)) << 16 | e(f32(b)), draws)  # fmt: skip
        check(f"cvt.rn.relu.{t}.f32 %r8, %r0, %r1;", [32, 32], 32,
              lambda a, b, e=encode: e(max(f32(a), 0.0)) << 16 | e(max(f32(b), 0.0)),
              draws)  # fmt: skip


def eight(name: str, *values: float) -> int:
    """Packed floats of 8 bits by torch, the first one on top."""
    dtype, top = {"e4m3": (torch.float8_e4m3fn, 448), "e5m2": (torch.float8_e5m2, 57344)}[name]
    bits = torch.tensor(values).clamp(-top, top).to(dtype).view(torch.uint8).tolist()
    return bits[0] << 8 | bits[1]


@pytest.mark.parametrize("t", ["e4m3", "e5m2"])
def test_floats_of_eight_bits(t):
    draws = [floats(-9, 10)] * 2
    dtype = torch.float8_e4m3fn if t == "e4m3" else torch.float8_e5m2

    def halves_of(x: int) -> int:
        values = torch.tensor([x & 255, x >> 8], dtype=torch.uint8).view(dtype).half()
        low, high = (v & 0xFFFF for v in values.view(torch.int16).tolist())
        return low | high << 16

    check(f"cvt.rn.satfinite.{t}x2.f32 %rs8, %r0, %r1;", [32, 32], 16,
          lambda a, b: eight(t, f32(a), f32(b)), draws)  # fmt: skip
    check(f"cvt.rn.satfinite.relu.{t}x2.f32 %rs8, %r0, %r1;", [32, 32], 16,
          lambda a, b: eight(t, max(f32(a), 0.0), max(f32(b), 0.0)), draws)  # fmt: skip
    check(f"cvt.rn.satfinite.{t}x2.f16x2 %rs8, %r0;", [32], 16,
          lambda a: eight(t, f16(a >> 16), f16(a & 0xFFFF)), [half_pairs])  # fmt: skip
    finite = lambda r: r.randrange(120) | r.randrange(120) << 8 | r.getrandbits(1) << 15  # noqa: E731
    check(f"cvt.rn.f16x2.{t}x2 %r8, %rs0;", [16], 32, halves_of, [finite])


@pytest.mark.parametrize(
    ("text", "out", "wanted"),
    [
        ("cvt.rn.satfinite.e2m3x2.f32 %rs8, {x};", "%rs8", 0x0C24),
        ("cvt.rn.satfinite.e3m2x2.f32 %rs8, {x};", "%rs8", 0x0E28),
        ("cvt.rn.f16x2.e2m3x2 %r8, 0x0C24;", "%r8", 0x3E00B800),
        ("cvt.rn.f16x2.e3m2x2 %r8, 0x0E28;", "%r8", 0x3E00B800),
        ("{{ .reg .b8 q; cvt.rn.satfinite.e2m1x2.f32 q, {x}; cvt.u16.u8 %rs8, q; }}", "%rs8", 0x39),
        ("{{ .reg .b8 q; cvt.u8.u16 q, 0x39; cvt.rn.f16x2.e2m1x2 %r8, q; }}", "%r8", 0x3E00B800),
        ("cvt.rp.satfinite.ue8m0x2.f32 %rs8, {x};", "%rs8", 0x807E),
        ("cvt.rn.bf16x2.ue8m0x2 %r8, 0x807E;", "%r8", 0x40003F00),
    ],
)  # fmt: skip
def test_floats_of_fewer_bits(text, out, wanted):
    """1.5 and -0.5 in four and in six bits, their sizes as scales, and back."""
    (found,) = execute(text.format(x="0f3FC00000, 0fBF000000"), {}, out)
    assert (found == wanted).all()


def test_directed_and_saturated_conversions():
    one = [lambda r: b32(1.0) + 1]
    for mode, half in (("rz", 0x3C00), ("rm", 0x3C00), ("rp", 0x3C01)):
        check(f"cvt.{mode}.f16.f32 %rs8, %r0;", [32], 16, lambda a, h=half: h, one)
    check("cvt.rz.f16x2.f32 %r8, %r0, %r0;", [32], 32, lambda a: 0x3C003C00, one)
    check("cvt.rz.bf16.f32 %rs8, %r0;", [32], 16, lambda a: a >> 16, [floats()])
    check("cvt.rz.tf32.f32 %r8, %r0;", [32], 32, lambda a: a & 0xFFFFE000, [floats()])
    check("cvt.rn.tf32.f32 %r8, %r0;", [32], 32,
          lambda a: (a + 0xFFF + (a >> 13 & 1)) & 0xFFFFE000, [floats()])  # fmt: skip
    check("cvt.rz.f32.s32 %r8, %r0;", [32], 32, lambda a: b32(float(a)), [lambda r: 0x01000001])
    check("cvt.rp.f32.u32 %r8, %r0;", [32], 32, lambda a: b32(float(a + 1)),
          [lambda r: 0x01000001])  # fmt: skip
    check("cvt.rn.satfinite.f16.f32 %rs8, %r0;", [32], 16, lambda a: 0x7BFF, [lambda r: b32(1e6)])
    for t, low, high in (("s8", -128, 127), ("u16", 0, 65535)):
        check(f"cvt.sat.{t}.s32 %rs8, %r0;", [32], 16,
              lambda a, p=low, q=high: max(p, min(q, signed(a, 32))))  # fmt: skip
    check("cvt.rn.bf16.s64 %rs8, %rd0;", [64], 16, lambda a: 0x5381,
          [lambda r: (1 << 40) + (1 << 32) + 1])  # fmt: skip
    check("cvt.bf16.f16 %rs8, %rs0;", [16], 16, lambda a: bbf16(f16(a)), [halves])


def test_tf32_rounds_ties_away_and_keeps_nan():
    check("cvt.rna.tf32.f32 %r8, %r0;", [32], 32, lambda a: (a + 0x1000) & 0xFFFFE000, [floats()])
    for nan in (0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000):
        (found,) = execute("cvt.rna.tf32.f32 %r8, %r0;", {"%r0": np.full((1, 1), nan, "u4")}, "%r8")
        assert np.isnan(found.view(np.float32)).all(), hex(nan)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("cvt.rp.bf16.f32 %rs1, %r2;", r"cvt\.rp\.bf16\.f32"),
        ("cvt.sat.f16x2.f32 %r1, %r2, %r3;", r"cvt\.sat\.f16x2\.f32"),
        ("cvt.rn.e4m3x2.f32 %rs1, %r2, %r3;", r"cvt\.rn\.e4m3x2"),
        ("cvt.rs.f16x2.f32 %r1, %r2, %r3, %r4;", r"modifier rs in cvt\.rs\.f16x2"),
        ("cvt.rp.tf32.f32 %r1, %r2;", r"cvt\.rp\.tf32\.f32"),
        ("cvt.rn.f16.e4m3x2 %rs1, %rs2;", r"cvt\.rn\.f16\.e4m3x2"),
    ],
)
def test_refusals_name_the_instruction(text, match):
    with pytest.raises(UnsupportedError, match=match):
        Kernel(ptx(text), 0, 1)
