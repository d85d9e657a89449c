"""Roundings are held against fractions: the neighbours of what is exact, and the right one."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from r2n_kernels.emulator.rounding import (
    DIRECTED,
    bf16_of_float64,
    bf16_toward_zero,
    converted,
    fma_bf16,
    fma_f32,
    fma_f64,
    rounded,
    saturate,
)
from r2n_kernels.emulator.types import from_bf16, to_bf16

pytestmark = pytest.mark.filterwarnings("ignore:overflow")
EXACT = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "fma": lambda a, b, c: a * b + c, "rcp": lambda a: 1 / a,
}  # fmt: skip
ARITY = {"fma": 3, "rcp": 1, "sqrt": 1}


def neighbours(exact: Fraction, dtype: type) -> tuple[np.floating, np.floating]:
    """The largest float that is not above, and the smallest that is not below."""
    try:
        low = dtype(float(exact))
    except OverflowError:
        low = dtype(math.inf if exact > 0 else -math.inf)

    def above(x: np.floating) -> bool:
        return x > 0 if np.isinf(x) else Fraction(float(x)) > exact

    while above(low):
        low = np.nextafter(low, dtype(-np.inf))
    while not above(np.nextafter(low, dtype(np.inf))):
        low = np.nextafter(low, dtype(np.inf))
    same = not np.isinf(low) and Fraction(float(low)) == exact
    return low, low if same else np.nextafter(low, dtype(np.inf))


def pick(exact: Fraction, dtype: type, mode: str) -> np.floating:
    low, high = neighbours(exact, dtype)
    if mode == "rn":
        if np.isinf(low) or np.isinf(high):
            return dtype(float(exact))
        below, above = exact - Fraction(float(low)), Fraction(float(high)) - exact
        if below == above:
            even = low.view(f"u{low.itemsize}") % 2 == 0
            return low if even else high
        return low if below < above else high
    return {"rm": low, "rp": high, "rz": low if exact > 0 else high}[mode]


def numbers(rng: np.random.Generator, dtype: type, n: int) -> np.ndarray:
    """Numbers of like and of very unlike size, few bits and many, the smallest and the largest."""
    info = np.finfo(dtype)
    few = (rng.integers(-64, 64, n) + 0.5) * 2.0 ** rng.integers(-3, 4, n)
    near = rng.standard_normal(n) * 2.0 ** rng.integers(-2, 3, n)
    far = rng.standard_normal(n) * 2.0 ** rng.uniform(info.minexp / 2.1, info.maxexp / 2.1, n)
    edge = rng.choice([info.max, info.tiny, info.smallest_subnormal * 3, 1 + info.eps], n)
    x = np.select([(r := rng.random(n)) < 0.3, r < 0.6, r < 0.85], [few, near, far], edge)
    return x.astype(dtype) * rng.choice([-1, 1], n).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", DIRECTED)
@pytest.mark.parametrize("name", [*EXACT, "sqrt"])
def test_directed(name, mode, dtype):
    rng = np.random.default_rng(0)
    operands = [numbers(rng, dtype, 400) for _ in range(ARITY.get(name, 2))]
    if name == "sqrt":
        operands = [np.abs(operands[0])]
    with np.errstate(all="ignore"):
        found = rounded(name, dtype, mode)(*operands)
    assert found.dtype == dtype
    for result, *x in zip(found, *operands, strict=True):
        if name == "sqrt":
            low, high = {"rp": (-1, 0)}.get(mode, (0, 1))
            ends = [np.nextafter(result, dtype(s * np.inf)) if s else result for s in (low, high)]
            lower, upper = (Fraction(float(end)) ** 2 for end in ends)
            exact = Fraction(float(x[0]))
            good = lower < exact <= upper if mode == "rp" else lower <= exact < upper
            assert good, (x, result)
            continue
        exact = EXACT[name](*(Fraction(float(v)) for v in x))
        if exact != 0:
            assert result == pick(exact, dtype, mode), (x, result)


@pytest.mark.parametrize(("fn", "dtype"), [(fma_f32, np.float32), (fma_f64, np.float64)])
def test_fused_products_round_once(fn, dtype):
    rng = np.random.default_rng(1)
    a, b, c = (numbers(rng, dtype, 3000) for _ in range(3))
    one, half = dtype(1), np.finfo(dtype).eps / dtype(2)
    end = one + 2 * half  # just above, at, and just below the middle between two numbers
    tie = [(end, end, s * half * half * dtype(2**-20)) for s in (1, 0, -1)]
    a, b, c = (np.append(x, [t[i] for t in tie]).astype(dtype) for i, x in enumerate((a, b, c)))
    with np.errstate(all="ignore"):
        found = fn(a, b, c).astype(dtype)
    for x, y, z, result in zip(a, b, c, found, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        if exact != 0 and abs(exact) > float(np.finfo(dtype).tiny) and abs(exact) < 2**120:
            assert result == pick(exact, dtype, "rn"), (x, y, z)


def test_a_fused_product_that_twice_rounded_would_be_wrong():
    a = np.array([1 + 2.0**-12], np.float32)
    c = np.array([2.0**-60], np.float32)
    b = np.array([1 + 2.0**-12], np.float32)  # the product is in the middle of two float32
    assert fma_f32(a, b, c).astype(np.float32)[0] == np.float32(1 + 2.0**-11 + 2.0**-23)
    assert fma_f32(a, b, -c).astype(np.float32)[0] == np.float32(1 + 2.0**-11)
    a = b = np.array([1 + 2.0**-4], np.float32)
    assert fma_bf16(a, b, c)[0] == 1 + 2.0**-3 + 2.0**-7
    assert fma_bf16(a, b, -c)[0] == 1 + 2.0**-3


def test_fused_products_of_what_is_no_number_or_zero():
    inf, nan = math.inf, math.nan
    a, b, c = np.array([[inf, 0, 1], [inf, 1, -inf], [0, 5, -0.0], [nan, 1, 1], [2, 3, inf]]).T
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(fma_f64(a, b, c), a * b + c)


@pytest.mark.parametrize("mode", DIRECTED)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_conversions(mode, dtype):
    rng = np.random.default_rng(2)
    ints = [
        rng.integers(np.iinfo(t).min, np.iinfo(t).max, 300, t)
        for t in (np.int32, np.uint32, np.int64, np.uint64)
    ]
    floats = [numbers(rng, np.float32, 300), numbers(rng, np.float64, 300)]
    for x in [*ints, *floats]:
        with np.errstate(all="ignore"):
            found = converted(x, dtype, mode)
        for value, result in zip(x.tolist(), found, strict=True):
            assert result == pick(Fraction(value), dtype, mode), (value, x.dtype)


def test_bf16():
    x = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-7 - 2.0**-20, np.inf, 3e38], np.float32)
    cut = from_bf16(bf16_toward_zero(x))
    assert cut.tolist() == [1, 1 + 2.0**-7, -1 - 2.0**-7, np.inf, from_bf16(np.uint16(0x7F61))]
    assert np.isnan(from_bf16(bf16_toward_zero(np.float32([np.nan])))).all()
    middle = 1 + 2.0**-8  # which float32's nearest would make of both
    found = bf16_of_float64(np.array([middle + 2.0**-40, middle, middle - 2.0**-40]))
    assert found.tolist() == [1 + 2.0**-7, 1, 1]
    assert to_bf16(found).dtype == np.uint16


def test_saturation():
    found = saturate(np.array([-1, 0.25, 7, np.nan, np.inf]))
    assert found.tolist() == [0, 0.25, 1, 0, 1]
