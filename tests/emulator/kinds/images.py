"""Convolutions, pooling and transposes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch.nn import functional

from .registry import fresh, kind, randn


@triton.jit
def conv_kernel(
    x_ptr, w_ptr, y_ptr, M, H, W, HO, WO, CI: tl.constexpr, CO: tl.constexpr, R: tl.constexpr,
    S: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    m, ci, co = (
        tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M),
        tl.arange(0, CI),
        tl.arange(0, CO),
    )
    image, ho, wo = m // (HO * WO), m // WO % HO, m % WO
    acc = tl.zeros((BLOCK_M, CO), tl.float32)
    for r in tl.static_range(R):
        for s in tl.static_range(S):
            h, w = ho * STRIDE + r - PAD, wo * STRIDE + s - PAD
            inside = (m < M) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            at = ((image * H + h) * W + w)[:, None] * CI + ci[None, :]
            x = tl.load(x_ptr + at, mask=inside[:, None], other=0.0)
            weight = tl.load(w_ptr + ((r * S + s) * CI + ci)[:, None] * CO + co[None, :])
            acc = tl.dot(x, weight, acc)
    tl.store(y_ptr + m[:, None] * CO + co[None, :], acc, mask=(m < M)[:, None])


@kind("conv2d, implicit GEMM (NHWC)")
def conv2d():
    x, w = randn(2, 9, 7, 16, dtype=torch.float16), randn(3, 3, 16, 32, dtype=torch.float16)
    ho, wo = 5, 4
    y = fresh(2, ho, wo, 32)
    conv_kernel[(2,)](x, w, y, 2 * ho * wo, 9, 7, ho, wo, CI=16, CO=32, R=3, S=3, STRIDE=2, PAD=1,
                      BLOCK_M=32)  # fmt: skip
    wanted = functional.conv2d(
        x.float().permute(0, 3, 1, 2), w.float().permute(3, 2, 0, 1), stride=2, padding=1
    )
    return y, wanted.permute(0, 2, 3, 1), 1e-3


@triton.jit
def depthwise_kernel(x_ptr, w_ptr, y_ptr, T, C: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr):
    t, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, C)
    acc = tl.zeros((BLOCK, C), tl.float32)
    for k in tl.static_range(K):
        source = t + k - (K - 1)
        x = tl.load(x_ptr + source[:, None] * C + c[None, :],
                    mask=((source >= 0) & (source < T))[:, None], other=0.0)  # fmt: skip
        acc += x * tl.load(w_ptr + c * K + k)[None, :]
    tl.store(y_ptr + t[:, None] * C + c[None, :], acc * tl.sigmoid(acc), mask=(t < T)[:, None])


@kind("causal depthwise conv1d with SiLU")
def depthwise():
    x, w, y = randn(50, 32), randn(32, 4), fresh(50, 32)
    depthwise_kernel[(4,)](x, w, y, 50, C=32, K=4, BLOCK=16)
    wanted = functional.conv1d(functional.pad(x.t()[None], (3, 0)), w[:, None], groups=32)
    return y, functional.silu(wanted)[0].t(), 1e-5


@triton.jit
def pool_kernel(
    x_ptr, y_ptr, H, W, HO, WO, n, SIZE: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    MAX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, ho, wo = offs // (HO * WO), offs // WO % HO, offs % WO
    out = tl.full((BLOCK,), -float("inf") if MAX else 0.0, tl.float32)
    count = tl.zeros((BLOCK,), tl.int32)
    for r in range(SIZE):
        for s in range(SIZE):
            h, w = ho * STRIDE + r - PAD, wo * STRIDE + s - PAD
            inside = (offs < n) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            x = tl.load(x_ptr + (plane * H + h) * W + w, mask=inside, other=out if MAX else 0.0)
            out = tl.maximum(out, x) if MAX else out + x
            count += inside.to(tl.int32)
    tl.store(y_ptr + offs, out if MAX else out / count, mask=offs < n)


@kind("max pooling")
def max_pool():
    x, y = randn(2, 3, 9, 8), fresh(2, 3, 5, 4)
    pool_kernel[(2,)](x, y, 9, 8, 5, 4, 120, SIZE=3, STRIDE=2, PAD=1, MAX=True, BLOCK=64)
    return y, functional.max_pool2d(x, 3, 2, 1), 0.0


@kind("average pooling")
def average_pool():
    x, y = randn(2, 3, 9, 8), fresh(2, 3, 5, 4)
    pool_kernel[(2,)](x, y, 9, 8, 5, 4, 120, SIZE=3, STRIDE=2, PAD=1, MAX=False, BLOCK=64)
    return y, functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False), 1e-6


@triton.jit
def transpose_kernel(x_ptr, y_ptr, M, N, BLOCK: tl.constexpr):
    m, n = (
        tl.program_id(0) * BLOCK + tl.arange(0, BLOCK),
        tl.program_id(1) * BLOCK + tl.arange(0, BLOCK),
    )
    x = tl.load(x_ptr + m[:, None] * N + n[None, :], mask=(m[:, None] < M) & (n[None, :] < N))
    tl.store(y_ptr + n[:, None] * M + m[None, :], tl.trans(x),
             mask=(n[:, None] < N) & (m[None, :] < M))  # fmt: skip


@kind("transpose")
def transpose():
    x, y = randn(50, 70), fresh(70, 50)
    transpose_kernel[(2, 3)](x, y, 50, 70, BLOCK=32)
    return y, x.t(), 0.0


@triton.jit
def upsample_kernel(x_ptr, y_ptr, H, W, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, h, w = offs // (4 * H * W), offs // (2 * W) % (2 * H), offs % (2 * W)
    y = tl.maximum((h.to(tl.float32) + 0.5) / 2 - 0.5, 0.0)
    x = tl.maximum((w.to(tl.float32) + 0.5) / 2 - 0.5, 0.0)
    y0, x0 = tl.floor(y).to(tl.int32), tl.floor(x).to(tl.int32)
    y1, x1 = tl.minimum(y0 + 1, H - 1), tl.minimum(x0 + 1, W - 1)
    dy, dx = y - y0, x - x0
    base = x_ptr + plane * H * W
    inside = offs < n
    top = tl.load(base + y0 * W + x0, mask=inside) * (1 - dx)
    top += tl.load(base + y0 * W + x1, mask=inside) * dx
    low = tl.load(base + y1 * W + x0, mask=inside) * (1 - dx)
    low += tl.load(base + y1 * W + x1, mask=inside) * dx
    tl.store(y_ptr + offs, top * (1 - dy) + low * dy, mask=inside)


@kind("bilinear upsampling")
def upsample():
    x, y = randn(1, 3, 5, 6), fresh(1, 3, 10, 12)
    upsample_kernel[(3,)](x, y, 5, 6, 360, BLOCK=128)
    return y, functional.interpolate(x, scale_factor=2, mode="bilinear"), 1e-5
