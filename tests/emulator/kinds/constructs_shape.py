"""Constructs of shapes: reductions, scans, rearrangements and products."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import construct, fresh, randn


@triton.jit
def reduce_kernel(x_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(x_ptr + m[:, None] * N + n[None, :])
    tl.store(y_ptr + n, tl.sum(x, 0))
    tl.store(y_ptr + N + n, tl.max(x, 0))
    tl.store(y_ptr + 2 * N + n, tl.min(x, 0))
    tl.store(y_ptr + 3 * N + m, tl.sum(x, 1))
    tl.store(y_ptr + 3 * N + M + m, tl.max(x, 1))
    tl.store(y_ptr + 3 * N + 2 * M, tl.sum(x))


@construct("tl.sum, tl.max, tl.min by either axis")
def reductions():
    x, y = randn(64, 32), fresh(3 * 32 + 2 * 64 + 1)
    reduce_kernel[(1,)](x, y, M=64, N=32)
    wanted = torch.cat([x.sum(0), x.amax(0), x.amin(0), x.sum(1), x.amax(1), x.sum()[None]])
    return y, wanted, 1e-4


@triton.jit
def dot_kernel(x_ptr, y_ptr, z_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(z_ptr, tl.sum(tl.load(x_ptr + i) * tl.load(y_ptr + i), 0))


@construct("tl.sum of fewer values than threads")
def small_sum():
    x, y, z = randn(64), randn(64), fresh(1)
    dot_kernel[(1,)](x, y, z, BLOCK=64, num_warps=4)
    return z, (x @ y)[None], 1e-5


@triton.jit
def xor_kernel(x_ptr, y_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.store(y_ptr, tl.xor_sum(x, 0))
    value, index = tl.max(x, 0, return_indices=True)
    tl.store(y_ptr + 1, value)
    tl.store(y_ptr + 2, index)
    tl.store(y_ptr + 3, tl.reduce_or(x, 0))


@construct("tl.xor_sum, reduce_or, max with indices")
def more_reductions():
    x, y = torch.randperm(256).int(), fresh(4, dtype=torch.int32)
    xor_kernel[(1,)](x, y, N=256)
    return y, [0, 255, x.argmax().item(), 255], 0.0


@triton.jit
def larger(a, i, b, j):
    first = (a > b) | ((a == b) & (i < j))
    return tl.where(first, a, b), tl.where(first, i, j)


@triton.jit
def custom_kernel(x_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(x_ptr + m[:, None] * N + n[None, :])
    index = tl.broadcast_to(n[None, :], (M, N))
    value, place = tl.reduce((x, index), 1, larger)
    tl.store(y_ptr + m, value)
    tl.store(y_ptr + M + m, place.to(tl.float32))


@construct("tl.reduce of a tuple, by a function of one's own")
def custom_reduction():
    x, y = randn(8, 128), fresh(16)
    custom_kernel[(1,)](x, y, M=8, N=128)
    value, place = x.max(1)
    return y, torch.cat([value, place.float()]), 0.0


@triton.jit
def scan_kernel(x_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + at)
    tl.store(y_ptr + at, tl.cumsum(x, 1))
    tl.store(y_ptr + M * N + at, tl.cumsum(x, 0, reverse=True))
    tl.store(y_ptr + 2 * M * N + at, tl.cumprod(x, 1))


@construct("tl.cumsum, reversed, and tl.cumprod")
def scans():
    x, y = torch.rand(16, 64) + 0.5, fresh(3, 16, 64)
    scan_kernel[(1,)](x, y, M=16, N=64)
    return y, torch.stack([x.cumsum(1), x.flip(0).cumsum(0).flip(0), x.cumprod(1)]), 1e-4


@triton.jit
def rearrange_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, tl.ravel(tl.trans(tl.reshape(x, (N // 8, 8)))))
    tl.store(y_ptr + N + i, tl.reshape(tl.permute(tl.reshape(x, (N // 16, 4, 4)), (2, 0, 1)), (N,)))
    tl.store(y_ptr + 2 * N + i, tl.flip(x, 0))


@construct("tl.reshape, trans, permute, ravel, flip")
def rearrangements():
    x, y = randn(256), fresh(3, 256)
    rearrange_kernel[(1,)](x, y, N=256)
    wanted = [x.reshape(32, 8).t().flatten(), x.reshape(16, 4, 4).permute(2, 0, 1).flatten()]
    return y, torch.stack([*wanted, x.flip(0)]), 0.0


@triton.jit
def join_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x, y = tl.load(x_ptr + i), tl.load(x_ptr + N + i)
    tl.store(y_ptr + tl.arange(0, 2 * N), tl.interleave(x, y))
    a, b = tl.split(tl.join(x, y * 2))
    tl.store(y_ptr + 2 * N + i, a + b)
    both = tl.cat(x, y, can_reorder=True)
    tl.store(y_ptr + 3 * N, tl.sum(both, 0))


@construct("tl.join, split, interleave, cat")
def joins():
    x, y = randn(2, 128), fresh(3 * 128 + 1)
    join_kernel[(1,)](x, y, N=128)
    return y, torch.cat([x.t().flatten(), x[0] + 2 * x[1], x.sum()[None]]), 1e-5


@triton.jit
def gather_kernel(x_ptr, id_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(y_ptr + at, tl.gather(tl.load(x_ptr + at), tl.load(id_ptr + at), 1))


@construct("tl.gather")
def gather():
    x, ids, y = randn(8, 64), torch.randint(0, 64, (8, 64), dtype=torch.int32), fresh(8, 64)
    gather_kernel[(1,)](x, ids, y, M=8, N=64)
    return y, x.gather(1, ids.long()), 0.0


@triton.jit
def order_kernel(x_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(x_ptr + m[:, None] * N + n[None, :])
    tl.store(y_ptr + m[:, None] * N + n[None, :], tl.sort(x, 1))
    best = tl.topk(x, 4, 1)
    tl.store(y_ptr + M * N + m[:, None] * 4 + tl.arange(0, 4)[None, :], best)


@construct("tl.sort and tl.topk of rows")
def orders():
    x, y = randn(4, 64), fresh(4 * 64 + 16)
    order_kernel[(1,)](x, y, M=4, N=64)
    return y, torch.cat([x.sort(1)[0].flatten(), x.topk(4, 1)[0].flatten()]), 0.0


@triton.jit
def product_kernel(
    a_ptr, b_ptr, c_ptr, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    b, m, n, k = tl.arange(0, B), tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a_ptr + (b[:, None, None] * M + m[None, :, None]) * K + k[None, None, :])
    y = tl.load(b_ptr + (b[:, None, None] * K + k[None, :, None]) * N + n[None, None, :])
    c = tl.dot(x, y, out_dtype=ACC)
    tl.store(c_ptr + (b[:, None, None] * M + m[None, :, None]) * N + n[None, None, :], c)


@construct("tl.dot of three dimensions")
def batched_dot():
    a, b, c = randn(2, 16, 32).half(), randn(2, 32, 16).half(), fresh(2, 16, 16)
    product_kernel[(1,)](a, b, c, B=2, M=16, N=16, K=32, ACC=tl.float32)
    return c, a.double() @ b.double(), 1e-4


@triton.jit
def plain_kernel(a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
                 ACC: tl.constexpr):  # fmt: skip
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + m[:, None] * K + k[None, :])
    b = tl.load(b_ptr + k[:, None] * N + n[None, :])
    c = tl.dot(a, b, out_dtype=ACC)
    tl.store(c_ptr + m[:, None] * N + n[None, :], c)


def product(a, b, out, acc, **options):
    c = fresh(a.shape[0], b.shape[1], dtype=out)
    plain_kernel[(1,)](a, b, c, M=a.shape[0], N=b.shape[1], K=a.shape[1], ACC=acc, **options)
    return c, a.double() @ b.double()


@construct("tl.dot of fp16, fp16 accumulators")
def half_dot():
    a, b = randn(64, 64).half(), randn(64, 64).half()
    return *product(a, b, torch.float16, tl.float16), 2e-2


@construct("tl.dot of fp8 e5m2")
def e5m2_dot():
    a, b = (randn(64, 64).to(torch.float8_e5m2) for _ in range(2))
    return *product(a, b, torch.float32, tl.float32), 3e-2


@construct("tl.dot of int8, 8 warps")
def int8_dot():
    a, b = (torch.randint(-128, 128, (128, 64), dtype=torch.int8) for _ in range(2))
    return *product(a, b.t().contiguous(), torch.int32, tl.int32, num_warps=8), 0.0


@triton.jit
def scaled_kernel(a_ptr, sa_ptr, b_ptr, sb_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr,
                  K: tl.constexpr):  # fmt: skip
    m, n, k, s = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K), tl.arange(0, K // 32)
    a = tl.load(a_ptr + m[:, None] * K + k[None, :])
    b = tl.load(b_ptr + k[:, None] * N + n[None, :])
    scale_a = tl.load(sa_ptr + m[:, None] * (K // 32) + s[None, :])
    scale_b = tl.load(sb_ptr + n[:, None] * (K // 32) + s[None, :])
    c = tl.dot_scaled(a, scale_a, "e4m3", b, scale_b, "e4m3")
    tl.store(c_ptr + m[:, None] * N + n[None, :], c)


@construct("tl.dot_scaled (mxfp8)", archs=(90, 100, 120))
def scaled_dot():
    a, b = randn(128, 64).to(torch.float8_e4m3fn), randn(64, 64).to(torch.float8_e4m3fn)
    scale_a, scale_b = (torch.randint(124, 130, s, dtype=torch.uint8) for s in ((128, 2), (64, 2)))
    c = fresh(128, 64)
    scaled_kernel[(1,)](a, scale_a, b, scale_b, c, M=128, N=64, K=64)
    real_a = a.double() * (scale_a.double() - 127).exp2().repeat_interleave(32, 1)
    real_b = b.double() * (scale_b.double() - 127).exp2().repeat_interleave(32, 1).t()
    return c, real_a @ real_b, 3e-2
