"""Constructs of elementwise arithmetic: one kernel, which is handed a function of the lanes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from .registry import ARCHS, construct, fresh, randn


@triton.jit
def apply_kernel(x_ptr, y_ptr, z_ptr, n, F: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    x, y = tl.load(x_ptr + offs, mask=inside), tl.load(y_ptr + offs, mask=inside)
    tl.store(z_ptr + offs, F(x, y), mask=inside)


def lanes(
    name: str, function, twin: Callable[[Tensor, Tensor], Tensor], data=None, *,
    tolerance: float = 1e-5, out: torch.dtype | None = None, archs=ARCHS,
) -> None:  # fmt: skip
    """Register a function of lanes with its twin. data(): the two operands."""

    def case():
        x, y = data() if data else (randn(300) * 3, randn(300) * 3)
        z = torch.zeros(len(x)).to(out) if out else fresh(len(x), dtype=x.dtype)
        apply_kernel[(3,)](x, y, z, len(x), F=function, BLOCK=128)
        return z.double(), twin(x, y).double(), tolerance

    construct(name, archs)(case)


def positive():
    return torch.rand(300) * 20 + 0.01, torch.rand(300) + 0.5


def wide():
    return randn(300) * 1000, randn(300) * 3


def integers(dtype: torch.dtype, low: int, high: int):
    """Return what makes two operands: any, and none that is 0."""

    def make():
        x = torch.randint(low, high, (300,), dtype=dtype)
        y = torch.randint(low, high, (300,), dtype=dtype)
        return x, torch.where(y == 0, 7, y).to(dtype)

    return make


INT32, INT64 = integers(torch.int32, -1000, 1000), integers(torch.int64, -(1 << 60), 1 << 60)
FP64 = lambda: (randn(300).double(), randn(300).double().abs() + 0.1)  # noqa: E731


@triton.jit
def exponentials(x, y):
    return tl.exp(x) + tl.exp2(y)


@triton.jit
def logarithms(x, y):
    return tl.log(x) + tl.log2(y)


@triton.jit
def sin(x, y):
    return tl.sin(x)


@triton.jit
def cos(x, y):
    return tl.cos(x)


@triton.jit
def erf(x, y):
    return tl.erf(x)


@triton.jit
def roots(x, y):
    return tl.sqrt(x) + tl.rsqrt(y)


@triton.jit
def exact_roots(x, y):
    return tl.div_rn(tl.sqrt_rn(x), y)


@triton.jit
def floor_ceil(x, y):
    return tl.floor(x) + 100 * tl.ceil(y)


@triton.jit
def clamp(x, y):
    return tl.clamp(x, -1.0, 2.0)


@triton.jit
def extremes(x, y):
    return tl.maximum(x, y) - tl.minimum(x, y)


@triton.jit
def extremes_with_nan(x, y):
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def fma(x, y):
    return tl.fma(x, y, x)


@triton.jit
def sigmoid(x, y):
    return tl.sigmoid(x) + tl.abs(y)


@triton.jit
def where(x, y):
    return tl.where((x > 0) & ~(y > 1) | (x == y), x, -y)


@triton.jit
def tanh(x, y):
    return libdevice.tanh(x)


@triton.jit
def power(x, y):
    return libdevice.pow(x, y)


@triton.jit
def libdevice_more(x, y):
    return libdevice.log1p(x) + libdevice.expm1(y) + libdevice.atan2(x, y) + libdevice.rint(x)


@triton.jit
def divide32(x, y):
    return x // y * 3 + x % y


@triton.jit
def divide64(x, y):
    return x // y + x % y


@triton.jit
def bits(x, y):
    return ((x & y) | (x ^ 1234)) + (x << 3) + (x >> 2) + ~y


@triton.jit
def umulhi(x, y):
    return tl.umulhi(x.to(tl.uint32), y.to(tl.uint32)).to(tl.int32)


@triton.jit
def ceiling(x, y):
    return tl.cdiv(x, 7)


@triton.jit
def double_precision(x, y):
    return tl.sqrt(y) + tl.exp(x) / y + x * y


@triton.jit
def plus(x, y):
    return x + y * 2


@triton.jit
def bitcast(x, y):
    return (x.to(tl.int32, bitcast=True) & 0x7FFFFFFF).to(tl.float32, bitcast=True)


@triton.jit
def to_bf16(x, y):
    return x.to(tl.bfloat16).to(tl.float32) + y.to(tl.float16).to(tl.float32)


@triton.jit
def towards_zero(x, y):
    return x.to(tl.bfloat16, fp_downcast_rounding="rtz").to(tl.float32)


@triton.jit
def to_e4m3(x, y):
    return x.to(tl.float8e4nv).to(tl.float32)


@triton.jit
def to_e5m2(x, y):
    return x.to(tl.float8e5).to(tl.float32)


@triton.jit
def to_integers(x, y):
    return x.to(tl.int32).to(tl.float32) + y.to(tl.int8).to(tl.float32) + (x > y).to(tl.float32)


@triton.jit
def inline_assembly(x, y):
    return tl.inline_asm_elementwise(
        "{ .reg .f32 a<2>; add.f32 a0, $1, $2; mul.f32 $0, a0, 0f40000000; }", "=f,f,f", [x, y],
        dtype=tl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def negate_pair(a, b):
    return tl.where(a > b, a, -b)


@triton.jit
def mapped(x, y):
    return tl.map_elementwise(negate_pair, x, y)


def with_nan():
    x, y = randn(300), randn(300)
    x[::7], y[::11] = float("nan"), float("nan")
    return x, y


def trunc_bf16(x, _):
    return (x.view(torch.int32) & ~0xFFFF).view(torch.float32)


def floor_div(x, y):
    return torch.div(x, y, rounding_mode="trunc")


lanes("tl.exp, tl.exp2", exponentials, lambda x, y: x.exp() + y.exp2())
lanes("tl.log, tl.log2", logarithms, lambda x, y: x.log() + y.log2(), positive)
lanes("tl.sin", sin, lambda x, y: x.sin(), wide)
lanes("tl.cos", cos, lambda x, y: x.cos(), wide)
lanes("tl.erf", erf, lambda x, y: x.erf())
lanes("tl.sqrt, tl.rsqrt", roots, lambda x, y: x.sqrt() + y.rsqrt(), positive)
lanes(
    "tl.sqrt_rn, tl.div_rn",
    exact_roots,
    lambda x, y: x.double().sqrt().float() / y,
    positive,
    tolerance=0,
)
lanes("tl.floor, tl.ceil", floor_ceil, lambda x, y: x.floor() + 100 * y.ceil())
lanes("tl.clamp", clamp, lambda x, y: x.clamp(-1, 2), tolerance=0)
lanes("tl.maximum, tl.minimum", extremes, lambda x, y: (x - y).abs(), tolerance=1e-6)
lanes("tl.maximum that keeps NaN", extremes_with_nan, torch.maximum, with_nan, tolerance=0)
lanes("tl.fma", fma, lambda x, y: x * y + x)
lanes("tl.sigmoid, tl.abs", sigmoid, lambda x, y: x.sigmoid() + y.abs())
lanes("tl.where and comparisons", where,
      lambda x, y: torch.where((x > 0) & ~(y > 1) | (x == y), x, -y), tolerance=0)  # fmt: skip
lanes("libdevice.tanh", tanh, lambda x, y: x.tanh())
lanes("libdevice.pow", power, lambda x, y: x**y, positive)
lanes("libdevice.log1p, expm1, atan2, rint", libdevice_more,
      lambda x, y: x.log1p() + y.expm1() + torch.atan2(x, y) + x.round(), positive)  # fmt: skip
lanes("// and % of int32", divide32,
      lambda x, y: floor_div(x, y) * 3 + torch.fmod(x, y), INT32, tolerance=0)  # fmt: skip
lanes("// and % of int64", divide64,
      lambda x, y: floor_div(x, y) + torch.fmod(x, y), INT64, tolerance=0)  # fmt: skip
lanes("bit operations and shifts", bits,
      lambda x, y: ((x & y) | (x ^ 1234)) + (x << 3) + (x >> 2) + ~y, INT32,
      tolerance=0)  # fmt: skip
lanes("tl.umulhi", umulhi,
      lambda x, y: ((x.long() & 0xFFFFFFFF) * (y.long() & 0x7FFFFFFF) >> 32).int(),
      integers(torch.int32, 1, 1 << 30), tolerance=0)  # fmt: skip
lanes("tl.cdiv", ceiling, lambda x, y: (x + 6) // 7, integers(torch.int32, 1, 500), tolerance=0)
lanes("float64", double_precision, lambda x, y: y.sqrt() + x.exp() / y + x * y, FP64,
      tolerance=1e-12)  # fmt: skip
lanes("int8", plus, lambda x, y: x + y * 2, integers(torch.int8, -128, 128), tolerance=0)
lanes("int16", plus, lambda x, y: x + y * 2, integers(torch.int16, -9999, 9999), tolerance=0)
lanes("int64", plus, lambda x, y: x + y * 2, INT64, tolerance=0)
lanes("float16", plus, lambda x, y: x + y * 2, lambda: (randn(300).half(), randn(300).half()),
      tolerance=4e-3)  # fmt: skip
lanes("bfloat16", plus, lambda x, y: x + y * 2,
      lambda: (randn(300).bfloat16(), randn(300).bfloat16()), tolerance=3e-2)  # fmt: skip
lanes("bit casts", bitcast, lambda x, y: x.abs(), tolerance=0)
lanes("casts to bf16 and fp16", to_bf16, lambda x, y: x.bfloat16().float() + y.half().float())
lanes("casts towards zero", towards_zero, trunc_bf16, tolerance=0)
lanes("casts to fp8 e4m3", to_e4m3, lambda x, y: x.to(torch.float8_e4m3fn).float(), tolerance=0,
      archs=(90, 100, 120))  # fmt: skip
lanes("casts to fp8 e5m2", to_e5m2, lambda x, y: x.to(torch.float8_e5m2).float(), tolerance=0)
lanes("casts to integers", to_integers, lambda x, y: x.trunc() + y.trunc() + (x > y))
lanes("tl.inline_asm_elementwise", inline_assembly, lambda x, y: (x + y) * 2, tolerance=1e-6)
lanes("tl.map_elementwise", mapped, lambda x, y: torch.where(x > y, x, -y), tolerance=0)
