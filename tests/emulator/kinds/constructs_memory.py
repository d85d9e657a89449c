"""Constructs of loads, stores, pointers and atomics."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import construct, fresh, randn


@triton.jit
def load_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=-5.0)
    tl.store(y_ptr + offs, x)


@construct("tl.load with mask and other")
def masked_load():
    x, y = randn(100), fresh(128)
    load_kernel[(1,)](x, y, 100, BLOCK=128)
    return y, torch.cat([x, torch.full((28,), -5.0)]), 0.0


@triton.jit
def hints_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.max_contiguous(tl.multiple_of(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), 16), 16)
    tl.assume(n > 0)
    x = tl.load(x_ptr + offs, mask=offs < n, eviction_policy="evict_first")
    x += tl.load(x_ptr + offs, mask=offs < n, cache_modifier=".cg")
    x += tl.load(x_ptr + offs, mask=offs < n, cache_modifier=".ca")
    x += tl.load(x_ptr + offs, mask=offs < n, volatile=True)
    tl.store(y_ptr + offs, x, mask=offs < n, cache_modifier=".cs")


@construct("cache modifiers, eviction, volatile, multiple_of, assume")
def hints():
    x, y = randn(500), fresh(500)
    hints_kernel[(4,)](x, y, 500, BLOCK=128)
    return y, 4 * x, 1e-6


@triton.jit
def in_place_kernel(x_ptr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    tl.store(x_ptr + offs, tl.load(x_ptr + offs) + 1)


@construct("a load and a store of one address, fewer lanes than threads")
def in_place():
    x = randn(32)
    wanted = x + 1
    in_place_kernel[(1,)](x, BLOCK=32, num_warps=4)
    return x, wanted, 0.0


@triton.jit
def scalar_kernel(x_ptr, y_ptr, n):
    total = 0.0
    for i in range(n):
        total += tl.load(x_ptr + i)
    tl.store(y_ptr, total)


@construct("loads and stores of scalars")
def scalars():
    x, y = randn(9), fresh(1)
    scalar_kernel[(1,)](x, y, 9)
    return y, x.sum()[None], 1e-5


@triton.jit
def strided_kernel(x_ptr, y_ptr, sm, sn, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    tl.store(y_ptr + m * N + n, tl.load(x_ptr + m * sm + n * sn))


@construct("strided and overlapping views")
def strided():
    whole, y, z = randn(40, 40), fresh(16, 16), fresh(16, 16)
    view = whole[3:35:2, 5:37:2]
    strided_kernel[(1,)](view, y, *view.stride(), M=16, N=16)
    windows = randn(31).as_strided((16, 16), (1, 1))
    strided_kernel[(1,)](windows, z, *windows.stride(), M=16, N=16)
    return [(y, view, 0.0), (z, windows, 0.0)]


@triton.jit
def pointer_kernel(table_ptr, y_ptr, N: tl.constexpr):
    x_ptr = tl.load(table_ptr + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    offs = tl.arange(0, N)
    tl.store(y_ptr + tl.program_id(0) * N + offs, tl.load(x_ptr + offs))


@construct("pointers that lie in memory")
def pointers():
    rows, y = [randn(64), randn(64), randn(64)], fresh(3, 64)
    pointer_kernel[(3,)](torch.tensor([row.data_ptr() for row in rows]), y, N=64)
    return y, torch.stack(rows), 0.0


@triton.jit
def far_kernel(x_ptr, y_ptr, offset, N: tl.constexpr):
    base = x_ptr + 48 + offset.to(tl.int64) * 4
    tl.store(y_ptr + tl.arange(0, N), tl.load(base + tl.arange(0, N)))


@construct("64-bit offsets and negative ones")
def offsets():
    x, y = randn(64), fresh(16)
    far_kernel[(1,)](x, y, -8, N=16)
    return y, x[16:32], 0.0


@triton.jit
def add_kernel(x_ptr, id_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    x, place = tl.load(x_ptr + offs, mask=inside), tl.load(id_ptr + offs, mask=inside)
    tl.atomic_add(y_ptr + place, x, mask=inside)


def added(dtype: torch.dtype):
    x, ids = torch.randint(0, 4, (200,)).to(dtype), torch.randint(0, 8, (200,))
    y = torch.zeros(8, dtype=dtype)
    add_kernel[(2,)](x, ids, y, 200, BLOCK=128)
    return y, torch.zeros(8).index_add_(0, ids, x.float()), 0.0


@construct("tl.atomic_add of fp32, fp64, int32 and int64")
def atomic_add():
    return [added(t) for t in (torch.float32, torch.float64, torch.int32, torch.int64)]


@construct("tl.atomic_add of fp16")
def atomic_add_fp16():
    return added(torch.float16)


@construct("tl.atomic_add of bf16")
def atomic_add_bf16():
    return added(torch.bfloat16)


@triton.jit
def neighbours_kernel(x_ptr, y_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    tl.atomic_add(y_ptr + offs, tl.load(x_ptr + tl.program_id(0) * N + offs), sem="relaxed")


@construct("tl.atomic_add of neighbours (packed, vectors)")
def packed_atomics():
    answers = []
    for dtype in (torch.float16, torch.float32):
        x, y = torch.randint(0, 9, (3, 512)).to(dtype), torch.zeros(512, dtype=dtype)
        neighbours_kernel[(3,)](x, y, N=512)
        answers.append((y, x.float().sum(0), 0.0))
    return answers


@triton.jit
def bitwise_kernel(x_ptr, y_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * N + tl.arange(0, N))
    tl.atomic_max(y_ptr, tl.max(x, 0))
    tl.atomic_min(y_ptr + 1, tl.min(x, 0))
    tl.atomic_and(y_ptr + 2, tl.max(x, 0))
    tl.atomic_or(y_ptr + 3, tl.max(x, 0))
    tl.atomic_xor(y_ptr + 4, tl.max(x, 0))


@construct("tl.atomic_max, min, and, or, xor")
def bitwise():
    x = torch.randint(0, 1000, (3, 64), dtype=torch.int32)
    y = torch.tensor([0, 5000, -1, 0, 0], dtype=torch.int32)
    bitwise_kernel[(3,)](x, y, N=64)
    a, b, c = x.amax(1).tolist()
    return y, [x.max().item(), x.min().item(), a & b & c, a | b | c, a ^ b ^ c], 0.0


@triton.jit
def float_max_kernel(x_ptr, y_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * N + tl.arange(0, N))
    tl.atomic_max(y_ptr, tl.max(x, 0))
    tl.atomic_min(y_ptr + 1, tl.min(x, 0))


@construct("tl.atomic_max and min of fp32")
def float_max():
    x, y = randn(3, 64), torch.zeros(2)
    float_max_kernel[(3,)](x, y, N=64)
    return y, [x.max().item(), x.min().item()], 0.0


@triton.jit
def exchange_kernel(lock_ptr, y_ptr, N: tl.constexpr):
    offs = tl.arange(0, N)
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    tl.store(y_ptr + offs, tl.load(y_ptr + offs) + 1)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr, 0)


@construct("tl.atomic_cas and atomic_xchg (a spin lock)")
def spin_lock():
    y = torch.zeros(64)
    exchange_kernel[(6,)](torch.zeros(1, dtype=torch.int32), y, N=64)
    return y, torch.full((64,), 6.0), 0.0


@triton.jit
def handshake_kernel(flag_ptr, x_ptr, y_ptr):
    if tl.program_id(0) == 0:
        tl.store(x_ptr, 42.0)
        tl.atomic_xchg(flag_ptr, 1, sem="release")
    else:
        while tl.atomic_add(flag_ptr, 0, sem="acquire") == 0:
            pass
        tl.store(y_ptr, tl.load(x_ptr))


@construct("release and acquire between programs")
def handshake():
    x, y = fresh(1), fresh(1)
    handshake_kernel[(2,)](torch.zeros(1, dtype=torch.int32), x, y)
    return y, [42.0], 0.0
