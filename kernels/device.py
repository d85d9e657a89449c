"""Device functions that several kernels share."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def relu(x):
    """As PyTorch's: NaN passes through, where PTX's max.f32 would turn it into 0."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """acc + a @ b, accumulated in float32; PRECISION as `precision_of` says."""
    if PRECISION == "widen":
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def conv1x1_tile(
    x_ptr,  # [M, K]
    w_ptr,  # [K_PAD, N_PAD]
    offs_m,  # [BLOCK_M]
    offs_n,  # [BLOCK_N]
    M,
    K: tl.constexpr,
    K_PAD: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """acc[m, n] = sum over k < K of x[m, k] * w[k, n]."""
    offs_k = tl.arange(0, BLOCK_K)
    # rows beyond M read row M - 1 again: no mask in the loop
    x_ptrs = x_ptr + tl.minimum(offs_m, M - 1)[:, None] * K + offs_k[None, :]
    w_ptrs = w_ptr + offs_k[:, None] * N_PAD + offs_n[None, :]
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for k in tl.range(0, K_PAD, BLOCK_K, num_stages=STAGES):
        if K_PAD == K:
            x = tl.load(x_ptrs + k)
        else:
            x = tl.load(x_ptrs + k, mask=(k + offs_k < K)[None, :], other=0.0)
        acc = dot(x, tl.load(w_ptrs + k * N_PAD), acc, PRECISION)
    return acc


@triton.jit
def conv3x3_tile(
    z_ptr,  # first tap of the image's first row; rows of C elements
    w_ptr,  # [3, K_PAD, N_PAD]
    offs_m,  # [BLOCK_M] rows of the image
    offs_n,  # [BLOCK_N]
    PITCH: tl.constexpr,
    C: tl.constexpr,
    K_PAD: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """acc[m, n] = sum over kernel lines i and k < 3 C of z[offs_m + i * PITCH][k] * w[i, k, n]."""
    offs_k = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    STEPS: tl.constexpr = K_PAD // BLOCK_K
    for step in tl.range(0, 3 * STEPS, num_stages=STAGES):
        line = step // STEPS
        k = (step % STEPS) * BLOCK_K
        # no mask: gaps between images and lines hold zeros
        z = tl.load(z_ptr + (offs_m + line * PITCH)[:, None] * C + (k + offs_k)[None, :])
        w = tl.load(w_ptr + (line * K_PAD + k + offs_k)[:, None] * N_PAD + offs_n[None, :])
        acc = dot(z, w, acc, PRECISION)
    return acc


def precision_of(tensor: Tensor) -> str:
    """How `dot` multiplies: "ieee", never TF32; "widen" for bfloat16 in the interpreter.

    Triton's interpreter keeps bfloat16 as 16-bit integers and multiplies them as such. Widening to
    float32 first is exact.
    """
    interpreted = not isinstance(dot, triton.runtime.JITFunction)
    return "widen" if interpreted and tensor.dtype == torch.bfloat16 else "ieee"
