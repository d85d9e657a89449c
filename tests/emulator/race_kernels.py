"""Triton kernels that synchronise, race, or look as if they did. worker.py compiles them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dot_kernel(x_ptr, y_ptr, z_ptr, BLOCK: tl.constexpr):
    """The first step of the butterfly becomes an fma, which is not symmetric."""
    i = tl.arange(0, BLOCK)
    tl.store(z_ptr, tl.sum(tl.load(x_ptr + i) * tl.load(y_ptr + i), 0))


@triton.jit
def _join(mean_1, m2_1, weight_1, mean_2, m2_2, weight_2):
    d, weight = mean_2 - mean_1, weight_1 + weight_2
    part = weight_2 / weight
    return mean_1 + d * part, m2_1 + m2_2 + d * d * weight_1 * part, weight


@triton.jit
def welford_kernel(x_ptr, mean_ptr, var_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.arange(0, ROWS)
    x = tl.load(x_ptr + r[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :])
    one = tl.full((ROWS, BLOCK), 1.0, tl.float32)
    mean, m2, weight = tl.reduce((x, tl.zeros_like(x), one), 1, _join)
    tl.store(mean_ptr + r, mean)
    tl.store(var_ptr + r, m2 / weight)


@triton.jit
def scaled_transpose_kernel(x_ptr, y_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Products that differ by rounding go through shared memory, by stmatrix where there is one."""
    r, c = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + r[:, None] * BLOCK + c[None, :])
    y = tl.load(y_ptr + r[:, None] * BLOCK + c[None, :])
    t = tl.sum(x * tl.sum(x * y, 1)[:, None], 0)
    tl.store(y_ptr + c, t)


@triton.jit
def increment_kernel(x_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x_ptr + i, tl.load(x_ptr + i, mask=i < n) + 1, mask=i < n)


@triton.jit
def softmax_in_place_kernel(x_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=float("-inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(x_ptr + i, e / tl.sum(e, 0), mask=i < n)


@triton.jit
def pairs_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    """A bug: two elements go to each place."""
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i // 2, tl.load(x_ptr + i) * 1.5)


@triton.jit
def shift_kernel(x_ptr, BLOCK: tl.constexpr):
    """A bug: a lane reads what another one overwrites."""
    i = tl.arange(0, BLOCK)
    tl.store(x_ptr + i, tl.load(x_ptr + (i + 40) % BLOCK) + 1)


@triton.jit
def accumulate_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr, HOW: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + i)
    if HOW == "atomic":
        tl.atomic_add(y_ptr + i, x)
    elif HOW == "plain":
        tl.store(y_ptr + i, tl.load(y_ptr + i) + x)
    elif tl.program_id(0) == 0:
        tl.store(y_ptr + i, x)
    else:
        tl.atomic_add(y_ptr + i, x)


@triton.jit
def last_block_kernel(
    x_ptr, part_ptr, count_ptr, y_ptr, n, N: tl.constexpr, BLOCK: tl.constexpr, SEM: tl.constexpr
):
    pid = tl.program_id(0)
    tl.store(part_ptr + pid, tl.sum(tl.load(x_ptr + pid * BLOCK + tl.arange(0, BLOCK)), 0))
    if tl.atomic_add(count_ptr, 1, sem=SEM) == n - 1:
        tl.store(y_ptr, tl.sum(tl.load(part_ptr + tl.arange(0, N)), 0))


@triton.jit
def locked_kernel(x_ptr, y_ptr, lock_ptr, BLOCK: tl.constexpr, LOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + i)
    if LOCK:
        while tl.atomic_cas(lock_ptr, 0, 1) == 1:
            pass
    tl.store(y_ptr + i, tl.load(y_ptr + i) + x)
    if LOCK:
        tl.debug_barrier()
        tl.atomic_xchg(lock_ptr, 0)
