"""Roundings other than numpy's are exact: directed ones, and those of a fused multiply-add.

A result to nearest is a neighbour of the right one, and `side`, the sign of what is true minus what
is nearest, says which. Where numpy has nothing wide enough to tell, fractions do, lane by lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .types import Array

DIRECTED = ("rz", "rm", "rp")  # toward zero, down, up
# exponents in which products of float64 and what they lose are exact
SMALL, LARGE = 2.0**-400, 2.0**400
SPLIT = 2.0**27 + 1
# bits of a float64 that narrower formats lack
LOW_F32, LOW_BF16, DROPPED_BF16 = np.uint64((1 << 29) - 1), np.uint64((1 << 45) - 1), np.uint64(45)
HALF = {low: (low >> np.uint64(1)) + np.uint64(1) for low in (LOW_F32, LOW_BF16)}
TINY_F32, STEP_BF16 = 2.0**-126, 2.0**-133  # the smallest normal number, and steps below it


def saturate(x: Array) -> Array:
    """Clip to [0, 1]; NaN becomes 0."""
    return np.fmin(np.fmax(x, 0), 1)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the sum, and what rounding it lost."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the product of float64, and what rounding it lost, by Dekker's halves."""
    high = [(x * SPLIT) - (x * SPLIT - x) for x in (a, b)]
    low = [x - h for x, h in zip((a, b), high, strict=True)]
    product = a * b
    lost = high[0] * high[1] - product + high[0] * low[1] + low[0] * high[1] + low[0] * low[1]
    return product, lost


def to_odd(total: Array, lost: Array) -> Array:
    """Round float64 so that rounding once more, to fewer bits, is as rounding once.

    What is not exact gets the neighbour whose last bit is set.
    """
    even = (total.view(np.uint64) & np.uint64(1)) == 0
    odd = np.nextafter(total, np.copysign(np.inf, lost))
    return np.where((lost != 0) & even & np.isfinite(total), odd, total)


def directed(nearest: Array, side: Array, mode: str) -> Array:
    """Return the neighbour of a nearest result that `mode` asks for."""
    up = (side > 0) & ((mode == "rp") | ((mode == "rz") & (nearest < 0)))
    down = (side < 0) & ((mode == "rm") | ((mode == "rz") & (nearest > 0)))
    inf = nearest.dtype.type(np.inf)
    moved = np.where(up, np.nextafter(nearest, inf), nearest)
    return np.where(down, np.nextafter(nearest, -inf), moved)


def converted(x: Array, dtype: type, mode: str) -> Array:
    """Convert numbers to floats of numpy's, in a directed mode."""
    nearest: Array = x.astype(dtype)
    wide = nearest.astype(np.float64)
    if np.issubdtype(x.dtype, np.integer):  # halves of 64 bits are exact, and so is each difference
        shift = 4 * x.dtype.itemsize
        high, low = x >> x.dtype.type(shift), x & x.dtype.type((1 << shift) - 1)
        side = (high.astype(np.float64) * 2.0**shift - wide) + low.astype(np.float64)
    else:
        side = x.astype(np.float64) - wide
    return directed(nearest, side, mode)


def bf16_toward_zero(x: Array) -> Array:
    """Return the bits of float32 numbers cut to bf16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.where(np.isnan(x), np.uint16(0x7FFF), (bits >> 16).astype(np.uint16))


def bf16_of_float64(x: Array) -> Array:
    """Round float64 to what bf16 holds, once, not by way of float32's nearest."""
    x = np.ascontiguousarray(x)
    bits = x.view(np.uint64)
    odd = (bits >> DROPPED_BF16) & np.uint64(1)
    near = ((bits + (LOW_BF16 >> np.uint64(1)) + odd) & ~LOW_BF16).view(np.float64)
    size = np.abs(x)
    small = (size < TINY_F32) & (size > 0)  # there bf16 has fewer bits
    if small.any():
        near = np.where(small, np.rint(x / STEP_BF16) * STEP_BF16, near)
    return np.where(size < np.inf, near, x)


def _without_ties(a: Array, b: Array, c: Array, low: np.uint64) -> Array:
    """Return a * b + c in float64 for one more rounding, to all but the bits in `low`.

    Products are exact there. A sum that lies just between two results may have got there by
    rounding: it is made odd.
    """
    total: Array = a.astype(np.float64) * b + c
    ties = (total.view(np.uint64) & low) == HALF[low]
    if ties.any():
        x, y, z = (
            (v if v.shape == total.shape else np.broadcast_to(v, total.shape))[ties]
            for v in (a, b, c)
        )
        near, lost = two_sum(x.astype(np.float64) * y, z.astype(np.float64))
        if lost.any():
            total[ties] = to_odd(near, lost)
    return total


def fma_f32(a: Array, b: Array, c: Array) -> Array:
    return _without_ties(a, b, c, LOW_F32)


def fma_bf16(a: Array, b: Array, c: Array) -> Array:
    return bf16_of_float64(_without_ties(a, b, c, LOW_BF16))


def fma_f64(a: Array, b: Array, c: Array) -> Array:
    """Multiply and add float64 with one rounding (Boldo and Melquiond, 2008)."""
    a, b, c = np.broadcast_arrays(a, b, c)
    product, lost = two_product(a, b)
    low, lower = two_sum(c, lost)
    high, middle = two_sum(product, low)
    out = high + to_odd(*two_sum(middle, lower))
    sizes = [np.abs(x) for x in (a, b, c)]
    plain = np.logical_or.reduce([(x == 0) | ~np.isfinite(x) for x in (a, b, c)])
    out = np.where(plain, a * b + c, out)  # rounded once anyhow
    odd = np.logical_or.reduce([(x < SMALL) | (x > LARGE) for x in sizes]) & ~plain
    if odd.any():
        out[odd] = _exactly(_fma, None, a[odd], b[odd], c[odd])
    return out


def _fma(a: Fraction, b: Fraction, c: Fraction) -> Fraction:
    return a * b + c


def _exactly(fn: Callable[..., Fraction], mode: str | None, *operands: Array) -> Array:
    """Apply fn of fractions to finite float64, round once. mode: None for to nearest."""
    out = []
    for numbers in zip(*(x.tolist() for x in operands), strict=True):
        exact = fn(*map(Fraction, numbers))
        try:
            near = float(exact)
        except OverflowError:
            near = math.inf if exact > 0 else -math.inf
        side = -math.copysign(1, near) if math.isinf(near) else (exact > near) - (exact < near)
        out.append((near, side))
    nearest, sides = np.array(out, np.float64).reshape(-1, 2).T
    return nearest if mode is None else directed(nearest, sides, mode)


FRACTIONS: dict[str, Callable[..., Fraction]] = {
    "mul": lambda a, b: a * b, "fma": _fma, "div": lambda a, b: a / b, "rcp": lambda a: 1 / a,
}  # fmt: skip
PLAIN: dict[str, Callable[..., Array]] = {
    "mul": np.multiply, "fma": lambda a, b, c: a * b + c, "div": np.divide, "rcp": lambda a: 1 / a,
}  # fmt: skip


def _sum(mode: str) -> Callable[[Array, Array], Array]:
    def add(a: Array, b: Array) -> Array:
        total, lost = two_sum(a, b)
        over = np.isinf(total) & np.isfinite(a) & np.isfinite(b)
        out = directed(total, np.where(over, -np.sign(total), np.sign(lost)), mode)
        if mode == "rm":  # what cancels is -0
            out = np.where((total == 0) & (np.signbit(a) != np.signbit(b)), -np.abs(out), out)
        return out

    return add


def _sqrt(mode: str, dtype: type) -> Callable[[Array], Array]:
    def sqrt(a: Array) -> Array:
        near = np.sqrt(a)
        if dtype is np.float32:  # whose squares float64 holds
            return directed(near, np.sign(a - near.astype(np.float64) ** 2), mode)
        # so that squares are finite, and what they lose is not lost
        scale = np.where(a < SMALL, LARGE, np.where(a > LARGE, SMALL, 1.0))
        square, lost = two_product(near * scale, near * scale)
        side = (a * scale * scale - square) - lost
        return directed(near, np.where(np.isfinite(side), side, 0), mode)

    return sqrt


def rounded(name: str, dtype: type, mode: str) -> Callable[..., Array]:
    """Return add, sub, mul, fma, div, rcp or sqrt of float32 or float64 in a directed mode."""
    if name == "add":
        return _sum(mode)
    if name == "sub":
        return lambda a, b: _sum(mode)(a, -b)
    if name == "sqrt":
        return _sqrt(mode, dtype)
    if dtype is np.float64:
        return _of_float64(name, mode)

    def of_float32(*operands: Array) -> Array:
        wide = [x.astype(np.float64) for x in operands]
        if name == "mul":
            exact = wide[0] * wide[1]
        elif name == "fma":
            exact = to_odd(*two_sum(wide[0] * wide[1], wide[2]))
        else:
            over, under = wide if name == "div" else (np.float64(1), wide[0])
            near = (over / under).astype(np.float32)
            return directed(near, np.sign(over - near * under) * np.sign(under), mode)
        near = exact.astype(np.float32)
        return directed(near, exact - near, mode)

    return of_float32


def _of_float64(name: str, mode: str) -> Callable[..., Array]:
    def apply(*operands: Array) -> Array:
        operands = np.broadcast_arrays(*operands)
        out = np.asarray(PLAIN[name](*operands))
        fit = np.logical_and.reduce([np.isfinite(x) for x in operands])
        if name in ("div", "rcp"):
            fit &= operands[-1] != 0
        # with a factor of zero it is exact, of a sign that fractions lack
        fit &= np.logical_and.reduce([x != 0 for x in operands[:2]])
        if fit.any():
            out[fit] = _exactly(FRACTIONS[name], mode, *(x[fit] for x in operands))
        return out

    return apply
