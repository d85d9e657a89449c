"""Scans, sorts, selections and counts."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import fresh, kind, randn


@triton.jit
def cumsum_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    carry = 0.0
    for start in range(0, n, BLOCK):
        at = row * n + start + offs
        x = tl.load(x_ptr + at, mask=start + offs < n, other=0.0)
        tl.store(y_ptr + at, tl.cumsum(x, 0) + carry, mask=start + offs < n)
        carry += tl.sum(x, 0)


@kind("cumulative sum, in blocks with a carry")
def cumsum():
    x, y = randn(3, 500), fresh(3, 500)
    cumsum_kernel[(3,)](x, y, 500, BLOCK=128)
    return y, x.cumsum(1), 1e-4


@triton.jit
def recurrence(a1, b1, a2, b2):
    return a1 * a2, b1 * a2 + b2


@triton.jit
def linear_scan_kernel(a_ptr, b_ptr, h_ptr, T: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, T)[:, None] * N + tl.arange(0, N)[None, :]
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    _, h = tl.associative_scan((a, b), 0, recurrence)
    tl.store(h_ptr + at, h)


@kind("associative scan (linear recurrence)")
def linear_scan():
    a, b, h = torch.rand(64, 16), randn(64, 16), fresh(64, 16)
    linear_scan_kernel[(1,)](a, b, h, T=64, N=16)
    state, wanted = torch.zeros(16), []
    for t in range(64):
        state = a[t] * state + b[t]
        wanted.append(state)
    return h, torch.stack(wanted), 1e-5


@triton.jit
def sort_kernel(x_ptr, y_ptr, N: tl.constexpr, DESCENDING: tl.constexpr):
    at = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(y_ptr + at, tl.sort(tl.load(x_ptr + at), descending=DESCENDING))


@kind("sort")
def sort():
    x = randn(3, 128)
    up, down = fresh(3, 128), fresh(3, 128)
    sort_kernel[(3,)](x, up, N=128, DESCENDING=False)
    sort_kernel[(3,)](x, down, N=128, DESCENDING=True)
    wanted = x.sort(1)[0]
    return [(up, wanted, 0.0), (down, wanted.flip(1), 0.0)]


@triton.jit
def topk_kernel(x_ptr, value_ptr, index_ptr, n, N: tl.constexpr, K: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, N)
    x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=-float("inf"))
    # Value and index in one integer: floats as integers of the same order
    bits = x.to(tl.int32, bitcast=True)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)
    keys = (ordered << 32) | (N - 1 - offs).to(tl.int64)
    best = tl.topk(keys, K)
    ordered = (best >> 32).to(tl.int32)
    value = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
    k = tl.arange(0, K)
    tl.store(value_ptr + row * K + k, value)
    tl.store(index_ptr + row * K + k, N - 1 - (best & 0xFFFFFFFF).to(tl.int32))


@kind("top-k, values and indices")
def topk():
    x, value, index = randn(4, 100), fresh(4, 8), fresh(4, 8, dtype=torch.int32)
    topk_kernel[(4,)](x, value, index, 100, N=128, K=8)
    wanted, places = x.topk(8, 1)
    return [(value, wanted, 0.0), (index, places, 0.0)]


@triton.jit
def argmax_kernel(x_ptr, high_ptr, low_ptr, n, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=-float("inf"))
    tl.store(high_ptr + row, tl.argmax(x, 0))
    tl.store(low_ptr + row, tl.argmin(tl.where(offs < n, x, float("inf")), 0))


@kind("argmax and argmin")
def argmax():
    x = torch.randint(-20, 20, (6, 200)).float()  # with ties: the first one counts
    high, low = fresh(6, dtype=torch.int32), fresh(6, dtype=torch.int32)
    argmax_kernel[(6,)](x, high, low, 200, BLOCK=256)
    return [(high, x.numpy().argmax(1), 0.0), (low, x.numpy().argmin(1), 0.0)]


@triton.jit
def histogram_kernel(x_ptr, count_ptr, n, BLOCK: tl.constexpr, BINS: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0)
    counts = tl.histogram(x, BINS, mask=offs < n)
    tl.atomic_add(count_ptr + tl.arange(0, BINS), counts)


@kind("histogram")
def histogram():
    x, counts = torch.randint(0, 16, (700,), dtype=torch.int32), torch.zeros(16, dtype=torch.int32)
    histogram_kernel[(3,)](x, counts, 700, BLOCK=256, BINS=16)
    return counts, torch.bincount(x, minlength=16), 0.0


@triton.jit
def compact_kernel(x_ptr, y_ptr, count_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    kept = (x > 0).to(tl.int32)
    place = tl.cumsum(kept, 0) - kept
    tl.store(y_ptr + place, x, mask=kept != 0)
    tl.store(count_ptr, tl.sum(kept, 0))


@kind("stream compaction")
def compaction():
    x, y, count = randn(256), fresh(256), fresh(1, dtype=torch.int32)
    compact_kernel[(1,)](x, y, count, BLOCK=256)
    wanted = x[x > 0]
    return [(count, [len(wanted)], 0.0), (y[: len(wanted)], wanted, 0.0)]


@triton.jit
def total_kernel(
    x_ptr, part_ptr, out_ptr, count_ptr, n, BLOCK: tl.constexpr, PROGRAMS: tl.constexpr
):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.sum(tl.load(x_ptr + offs, mask=offs < n, other=0.0), 0)
    tl.store(part_ptr + tl.program_id(0), total)
    if tl.atomic_add(count_ptr, 1, sem="acq_rel") == tl.num_programs(0) - 1:  # the last one
        parts = tl.load(part_ptr + tl.arange(0, PROGRAMS), cache_modifier=".cg")
        tl.store(out_ptr, tl.sum(parts, 0))


@kind("sum in one launch (the last program adds up)")
def one_launch_sum():
    x, parts, out = randn(1000), fresh(4), fresh(1)
    total_kernel[(4,)](
        x, parts, out, torch.zeros(1, dtype=torch.int32), 1000, BLOCK=256, PROGRAMS=4
    )
    return out, x.sum()[None], 1e-4
