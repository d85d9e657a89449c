"""Matrix descriptors say where operand tiles are in shared memory (sm_90, sm_100).

PTX ISA: "Matrix Descriptor Format" of wgmma, "Shared memory descriptor" of tcgen05, "Canonical
Layouts". Addresses, offsets and leading dimensions are in units of 16 bytes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..errors import UnsupportedError
from ..tensormaps import UNIT
from ..types import Array

ATOM = 1024  # bytes after which a swizzle repeats


def wgmma_tile(descriptor: int, rows: int, depth: int, size: int, mn_major: int) -> Array:
    """Return the absolute shared addresses [rows, depth] of elements of `size` bytes."""
    if (descriptor >> 49) & 7:
        raise UnsupportedError(f"a base offset in matrix descriptor {descriptor:#x}")
    swizzle = {0: 16, 1: 128, 2: 64, 3: 32}[descriptor >> 62]
    return _tile(descriptor, swizzle, rows, depth, size, mn_major)


def tcgen05_tile(descriptor: int, rows: int, depth: int, size: int, mn_major: int) -> Array:
    kind = descriptor >> 61
    # without a swizzle there is no pattern that a base offset could move
    moved = (descriptor >> 49) & 7 and kind
    if (descriptor >> 46) & 7 != 1 or moved or (descriptor >> 52) & 1:
        raise UnsupportedError(f"matrix descriptor {descriptor:#x}")
    if kind not in (0, 2, 4, 6):
        raise UnsupportedError(f"the swizzle of matrix descriptor {descriptor:#x}")
    return _tile(descriptor, {0: 16, 2: 128, 4: 64, 6: 32}[kind], rows, depth, size, mn_major)


def _tile(descriptor: int, swizzle: int, rows: int, depth: int, size: int, mn_major: int) -> Array:
    start, leading, stride = (((descriptor >> at) & 0x3FFF) * UNIT for at in (0, 16, 32))
    layout = _layout(start % ATOM, leading, stride, swizzle, rows, depth, size, mn_major)
    return start // ATOM * ATOM + layout


@lru_cache(maxsize=4096)
def _layout(
    low: int, leading: int, stride: int, swizzle: int, rows: int, depth: int, size: int,
    mn_major: int,
) -> Array:  # fmt: skip
    """Return the offsets of a tile whose start is `low` modulo 1024."""
    i, j = np.arange(rows)[:, None], np.arange(depth)[None, :]
    if mn_major:
        i = i * size
        if swizzle == UNIT:
            off = (i // UNIT) * stride + i % UNIT + (j // 8) * leading + (j % 8) * UNIT
        else:
            off = (i // swizzle) * leading + i % swizzle + (j // 8) * stride + (j % 8) * swizzle
    else:
        j = j * size
        inner = (j // UNIT) * leading + j % UNIT if swizzle == UNIT else j
        off = (i // 8) * stride + (i % 8) * swizzle + inner
    return swizzled(off + low, swizzle)


def swizzled(at: Array, swizzle: int) -> Array:
    """Return where bytes lie whose rows are swizzled within so many bytes; 16: where they are."""
    return at ^ (((at >> 7) & (swizzle // UNIT - 1)) << 4)
