"""Floats of 4 to 8 bits are looked up by their bits, and rounded to nearest, ties to even."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Format:
    """A Format has a sign, an exponent and a mantissa. special: how many bit patterns, from the
    top of each sign, are no finite number: infinity and NaNs in e5m2, one NaN in e4m3."""

    exponent: int
    mantissa: int
    bias: int
    special: int
    infinite: bool = False

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @cached_property
    def values(self) -> Array:
        """Return what every byte stands for; bits above the format's are ignored."""
        body = np.arange(self.sign)
        exponent, fraction = body >> self.mantissa, body & ((1 << self.mantissa) - 1)
        whole = np.where(exponent > 0, fraction + (1 << self.mantissa), fraction)
        size = whole * 2.0 ** (np.maximum(exponent, 1) - self.bias - self.mantissa)
        if self.special:
            size[-self.special :] = np.nan
        if self.infinite:
            size[-self.special] = np.inf
        both = np.concatenate([size, -size]).astype(np.float32)
        return np.tile(both, 256 // len(both))

    @cached_property
    def _finite(self) -> Array:
        return self.values[: self.sign - self.special].astype(np.float64)

    def decode(self, bits: Array) -> Array:
        return self.values.take(bits)

    def encode(self, x: Array) -> Array:
        """Round to bits. What is too large becomes the largest number, as .satfinite asks for."""
        x = np.asarray(x, np.float64)
        size = np.minimum(np.abs(x), self._finite[-1])
        exponent = np.maximum(np.frexp(size)[1] - 1, 1 - self.bias)
        quantum = 2.0 ** (exponent - self.mantissa)
        rounded = np.minimum(np.rint(size / quantum) * quantum, self._finite[-1])
        place = np.searchsorted(self._finite, np.nan_to_num(rounded))
        bits = np.where(np.signbit(x), place + self.sign, place)
        # formats without a NaN make of it their largest number
        nan = self.sign - 1
        return np.where(np.isnan(x), nan, bits).astype(np.uint8)


FORMATS = {
    "e4m3": Format(4, 3, 7, special=1), "e5m2": Format(5, 2, 15, special=4, infinite=True),
    "e2m1": Format(2, 1, 1, special=0), "e2m3": Format(2, 3, 1, special=0),
    "e3m2": Format(3, 2, 3, special=0),
}  # fmt: skip
SCALES = np.append(2.0 ** np.arange(-127.0, 128.0), np.nan).astype(np.float32)  # ue8m0


def decode_scale(bits: Array) -> Array:
    """Return powers of two."""
    return SCALES.take(bits)


def encode_scale(x: Array, *, up: bool = False) -> Array:
    """Return exponents of sizes, rounded toward zero or up; saturated, so that only NaN is NaN."""
    fraction, exponent = np.frexp(np.abs(np.asarray(x, np.float64)))
    exponent = exponent - 1 + (up & (fraction > 0.5))
    bits = np.where(np.isinf(x), 254, np.where(x == 0, 0, np.clip(exponent + 127, 0, 254)))
    return np.where(np.isnan(x), 255, bits).astype(np.uint8)


# of one element: (bits, from raw bits, to raw bits)
CODECS: dict[str, tuple[int, Callable[[Array], Array], Callable[[Array], Array]]] = {
    **{name: (f.bits if f.bits == 4 else 8, f.decode, f.encode) for name, f in FORMATS.items()},
    "ue8m0": (8, decode_scale, encode_scale),
}
