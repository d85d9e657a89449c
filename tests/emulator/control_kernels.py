"""Kernels that diverge, call, print, assert, keep local arrays and wait for each other."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def erf_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, tl.erf(x) + libdevice.tanh(x))


@triton.jit
def trigonometry_kernel(x_ptr, y_ptr, z_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, tl.sin(x))
    tl.store(z_ptr + i, tl.cos(x))


@triton.jit
def normal_kernel(y_ptr, seed, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.randn(seed, i))


@triton.jit
def division_kernel(x_ptr, y_ptr, q_ptr, r_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + i), tl.load(y_ptr + i)
    tl.store(q_ptr + i, x // y)
    tl.store(r_ptr + i, x % y)


@triton.jit
def talk_kernel(x_ptr, n, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    tl.device_print("x", x)
    tl.device_print("n", n, hex=True)
    tl.device_print("half", x.to(tl.float32) / 2)
    tl.device_assert(x < 100, "x is too large")


@triton.jit(noinline=True)
def helper(a, b):
    s = a * b
    if a > 3:
        s += 7
    return s, a.to(tl.float32) / 2


@triton.jit(noinline=True)
def deeper(a):
    s, half = helper(a, a + 1)
    return s.to(tl.float32) + half


@triton.jit
def call_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    a, b = tl.load(x_ptr), tl.load(x_ptr + 1)
    s, half = helper(a, b)
    tl.store(y_ptr + tl.arange(0, BLOCK), s + half + deeper(s))


@triton.jit
def locked_sum_kernel(lock_ptr, x_ptr, sum_ptr, BLOCK: tl.constexpr):
    """Sum rows under a lock, as the tutorial's layer norm does backwards."""
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + i)
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    tl.store(sum_ptr + i, tl.load(sum_ptr + i) + x)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr, 0)


@triton.jit
def persistent_kernel(counter_ptr, x_ptr, y_ptr, tiles, BLOCK: tl.constexpr):
    """Take tiles from a counter until there are none."""
    i = tl.arange(0, BLOCK)
    tile = tl.atomic_add(counter_ptr, 1)
    while tile < tiles:
        tl.store(y_ptr + tile * BLOCK + i, tl.load(x_ptr + tile * BLOCK + i) * 2)
        tile = tl.atomic_add(counter_ptr, 1)


@triton.jit
def look_back_kernel(x_ptr, y_ptr, total_ptr, flag_ptr, BLOCK: tl.constexpr):
    """A scan over programs: each waits for what the one before it passes on."""
    pid = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + pid * BLOCK + i)
    before = 0
    if pid > 0:
        while tl.atomic_add(flag_ptr + pid - 1, 0, sem="acquire") == 0:
            pass
        before = tl.load(total_ptr + pid - 1)
    tl.store(total_ptr + pid, before + tl.sum(x, 0))
    tl.debug_barrier()
    tl.atomic_xchg(flag_ptr + pid, 1, sem="release")
    tl.store(y_ptr + pid * BLOCK + i, before + tl.cumsum(x, 0))


@triton.jit
def stream_k_kernel(x_ptr, y_ptr, lock_ptr, SPLITS: tl.constexpr, BLOCK: tl.constexpr):
    """Splits of a sum: all but the last wait in line to add theirs, the last one reads it."""
    pid = tl.program_id(0)
    tile, split = pid // SPLITS, pid % SPLITS
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + pid * BLOCK + i)
    while tl.atomic_cas(lock_ptr + tile, split, split) != split:
        pass
    if split > 0:
        x += tl.load(y_ptr + tile * BLOCK + i)
    tl.store(y_ptr + tile * BLOCK + i, x)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr + tile, split + 1)


@triton.jit
def counter_of_nobody_kernel(flag_ptr, y_ptr):
    while tl.load(flag_ptr, volatile=True) == 0:
        pass
    tl.store(y_ptr, 1)
