"""One mma.sync with every element of every fragment placed by the PTX ISA's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator import Kernel, UnsupportedError

from .lanes import LANES, execute, ptx

GROUP, THREAD = np.arange(LANES) // 4, np.arange(LANES) % 4


def names(first: int, count: int) -> list[str]:
    return [f"%r{first + i}" for i in range(count)]


def run(form: str, a: np.ndarray, b: np.ndarray, c: np.ndarray, per: int) -> np.ndarray:
    """a [16, K] and b [K, 8] in raw bits, `per` elements a register; c [16, 8] of 32 bits."""
    registers = {}
    halves = a.shape[1] // (4 * per)
    for i in range(2 * halves):  # register i: row half i % 2, k half i // 2
        row, k = GROUP + 8 * (i % 2), (i // 2) * 4 * per + THREAD * per
        packed = np.ascontiguousarray(a[row[:, None], k[:, None] + np.arange(per)])
        registers[f"%r{10 + i}"] = packed.view(np.uint32).reshape(1, LANES)
    for i in range(halves):
        k = i * 4 * per + THREAD * per
        packed = np.ascontiguousarray(b[k[:, None] + np.arange(per), GROUP[:, None]])
        registers[f"%r{20 + i}"] = packed.view(np.uint32).reshape(1, LANES)
    for i in range(4):
        value = c[GROUP + 8 * (i // 2), 2 * THREAD + i % 2]
        registers[f"%r{30 + i}"] = np.ascontiguousarray(value).view(np.uint32).reshape(1, LANES)
    groups = [names(40, 4), names(10, 2 * halves), names(20, halves), names(30, 4)]
    operands = ", ".join("{" + ", ".join(group) + "}" for group in groups)
    out = execute(f"mma.sync.aligned.{form} {operands};", registers, *names(40, 4))
    d = np.empty_like(c)
    for i in range(4):
        d[GROUP + 8 * (i // 2), 2 * THREAD + i % 2] = np.ascontiguousarray(out[i][-1]).view(c.dtype)
    return d


@pytest.mark.parametrize("k", [8, 16])
def test_float16(k):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, k)).astype(np.float16), rng.normal(size=(k, 8)).astype(np.float16)
    c = rng.normal(size=(16, 8)).astype(np.float32)
    found = run(f"m16n8k{k}.row.col.f32.f16.f16.f32", a, b, c, 2)
    np.testing.assert_allclose(found, a.astype(float) @ b.astype(float) + c, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [4, 8])
def test_tf32_ignores_low_bits(k):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=s).astype(np.float32) for s in ((16, k), (k, 8)))
    c = np.zeros((16, 8), np.float32)
    short = [(x.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(float) for x in (a, b)]
    found = run(f"m16n8k{k}.row.col.f32.tf32.tf32.f32", a, b, c, 1)
    np.testing.assert_allclose(found, short[0] @ short[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("types", "dtype"), [("s8.s8", np.int8), ("u8.u8", np.uint8)])
def test_integers_wrap_or_saturate(types, dtype):
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    a, b = (rng.integers(limits.min, limits.max, s, dtype, True) for s in ((16, 32), (32, 8)))
    c = rng.integers(-(2**31), 2**31, (16, 8), np.int64).astype(np.int32)
    c[0] = 2**31 - 1
    a[0], b[:, :4] = limits.max, limits.max
    exact = a.astype(np.int64) @ b.astype(np.int64) + c
    assert (exact > 2**31 - 1).any()
    wrapped = run(f"m16n8k32.row.col.s32.{types}.s32", a, b, c, 4)
    assert (wrapped == exact.astype(np.int32)).all()
    saturated = run(f"m16n8k32.row.col.satfinite.s32.{types}.s32", a, b, c, 4)
    assert (saturated == exact.clip(-(2**31), 2**31 - 1)).all()


@pytest.mark.parametrize(("m", "k"), [(8, 4), (16, 4), (16, 8), (16, 16)])
def test_float64(m, k):
    """Register i of A: row half i % (m / 8), four columns i // (m / 8)."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=s) for s in ((m, k), (k, 8), (m, 8)))
    halves, steps = m // 8, k // 4
    registers = {}
    for i in range(halves * steps):
        registers[f"%rd{10 + i}"] = a[GROUP + 8 * (i % halves), THREAD + 4 * (i // halves)]
    for i in range(steps):
        registers[f"%rd{30 + i}"] = b[THREAD + 4 * i, GROUP]
    for i in range(2 * halves):
        registers[f"%rd{40 + i}"] = c[GROUP + 8 * (i // 2), 2 * THREAD + i % 2]
    raw = {name: x.view(np.uint64).reshape(1, LANES) for name, x in registers.items()}
    parts = ((50, 2 * halves), (10, halves * steps), (30, steps), (40, 2 * halves))
    wide = [[f"%rd{first + i}" for i in range(count)] for first, count in parts]
    operands = ", ".join("{" + ", ".join(names) + "}" for names in wide)
    text = f"mma.sync.aligned.m{m}n8k{k}.row.col.f64.f64.f64.f64 {operands};"
    found = execute(text, raw, *wide[0])
    d = np.empty((m, 8))
    for i, register in enumerate(found):
        d[GROUP + 8 * (i // 2), 2 * THREAD + i % 2] = register[-1].view(np.float64)
    np.testing.assert_allclose(d, a @ b + c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["{}", "kind::f8f6f4.{}"])
@pytest.mark.parametrize("types", ["e4m3.e5m2", "e5m2.e4m3"])
def test_floats_of_eight_bits(types, form):
    dtypes = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
    g = torch.Generator().manual_seed(0)
    sides = [
        torch.randn(*shape, generator=g).to(dtypes[t])
        for t, shape in zip(types.split("."), ((16, 32), (32, 8)), strict=True)
    ]
    raw = [x.view(torch.uint8).numpy() for x in sides]
    c = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    found = run(form.format(f"m16n8k32.row.col.f32.{types}.f32"), *raw, c, 4)
    wanted = sides[0].double() @ sides[1].double()
    np.testing.assert_allclose(found, wanted.numpy() + c, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    ["m16n8k64.row.col.s32.s4.s4.s32", "sp::ordered_metadata.m16n8k32.row.col.f32.f16.f16.f32",
     "m8n8k4.row.col.f32.f16.f16.f32"],
)  # fmt: skip
def test_what_is_refused(form):
    text = f"mma.sync.aligned.{form} {{%r1}}, {{%r2}}, {{%r3}}, {{%r4}};"
    with pytest.raises(UnsupportedError, match=form.split(".")[-2]):
        Kernel(ptx(text), 0, 1)


def test_an_unknown_modifier_is_named():
    text = "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%r1}, {%r2}, {%r3}, {%r4};"
    with pytest.raises(UnsupportedError, match=r"mma\.sync.*popc"):
        Kernel(ptx(text), 0, 1)
