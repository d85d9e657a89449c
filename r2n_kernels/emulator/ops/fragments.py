"""Fragments are matrices spread over the registers of a warp.

As the PTX ISA draws them, chapter "Matrix fragments for mma.m16n8k*": lane = 4 * group + thread; a
register holds neighbouring elements of a row of A or of a column of B.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..types import Array


def acc_to_matrix(regs: Array, packed: bool) -> Array:
    """Turn accumulator registers [n, warps, 32] into [warps, 16, N]; float32, or raw bits."""
    n, warps, _ = regs.shape
    if packed:  # of float16: [block, half, warp, group, thread, pair]
        x = regs.view(np.float16).reshape(n // 2, 2, warps, 8, 4, 2).astype(np.float32)
        return x.transpose(2, 1, 3, 0, 4, 5).reshape(warps, 16, -1)
    x = regs.reshape(n // 4, 2, 2, warps, 8, 4)  # [block, half, pair, warp, group, thread]
    return x.transpose(3, 1, 4, 0, 5, 2).reshape(warps, 16, -1)


def matrix_to_acc(matrix: Array, packed: bool) -> Array:
    """Invert acc_to_matrix: raw [n, warps, 32]."""
    warps, _, columns = matrix.shape
    x = matrix.reshape(warps, 2, 8, columns // 8, 4, 2)
    if packed:
        x = np.ascontiguousarray(x.astype(np.float16).transpose(3, 1, 0, 2, 4, 5))
        return x.view(np.uint32).reshape(columns // 4, warps, 32)
    x = np.ascontiguousarray(x.transpose(3, 1, 5, 0, 2, 4))
    return x.view(np.uint32).reshape(columns // 2, warps, 32)


def a_fragment(regs: Array, dec: Callable[[Array], Array], per: int) -> Array:
    """Turn A's registers [2 or 4, warps, 32], `per` elements each, into [warps, 16, K]."""
    n, warps, _ = regs.shape
    x = dec(regs).reshape(n // 2, 2, warps, 8, 4, per)  # [k half, row half, warp, group, thread]
    return x.transpose(2, 1, 3, 0, 4, 5).reshape(warps, 16, -1)


def b_fragment(regs: Array, dec: Callable[[Array], Array], per: int) -> Array:
    """Turn B's registers [n, warps, 32] into [warps, K, 8]."""
    n, warps, _ = regs.shape
    x = dec(regs).reshape(n, warps, 8, 4, per)  # [k half, warp, column, thread, element]
    return x.transpose(1, 0, 3, 4, 2).reshape(warps, -1, 8)
