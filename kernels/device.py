"""Several kernels share these device functions."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .versions import require_triton

require_triton()  # before any kernel is made: an old Triton would fail on it in its own words


@triton.jit
def relu(x):
    """Do as PyTorch does: NaN passes through, where PTX's max.f32 would turn it into 0."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """Return acc + a @ b, accumulated in float32; PRECISION as `precision_of` says."""
    if PRECISION == "widen":
        a, b = a.to(tl.float32), b.to(tl.float32)
    if PRECISION == "ieee" and a.dtype == tl.float32:
        # sums of a block each: one running sum over a long K loses too much. As a product, because
        # the compiler would make one running sum of a plain addition.
        return tl.fma(tl.dot(a, b, input_precision="ieee"), 1.0, acc)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def narrow(x, like, PRECISION: tl.constexpr):
    """Round float32 x to nearest even in the element type of the pointer `like`."""
    if PRECISION == "widen":  # the interpreter would truncate: round before it does
        bits = x.to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(like.dtype.element_ty)


@triton.jit
def gemm_tile(
    x_ptrs,  # [BLOCK_M] first element of each row
    w_ptr,  # [K_PAD, N_PAD]
    offs_n,  # [BLOCK_N]
    acc,  # [BLOCK_M, BLOCK_N] float32
    K: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return acc[m, n] + sum over k < K of x[m, k] * w[k, n]; w has zeros or more beyond K."""
    offs_k = tl.arange(0, BLOCK_K)
    x_tile = x_ptrs[:, None] + offs_k[None, :]
    w_tile = w_ptr + offs_k[:, None] * N_PAD + offs_n[None, :]
    for k in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        if K % BLOCK_K == 0:
            x = tl.load(x_tile + k)
        else:
            x = tl.load(x_tile + k, mask=(k + offs_k < K)[None, :], other=0.0)
        acc = dot(x, tl.load(w_tile + k * N_PAD), acc, PRECISION)
    return acc


@triton.jit
def conv_tile(
    x_ptrs,  # [BLOCK_M] first tap of each output pixel, in the planes layout
    w_ptr,  # [LINES, K_PAD, N_PAD]
    offs_n,  # [BLOCK_N]
    LINES: tl.constexpr,
    LINE: tl.constexpr,  # elements from a kernel line to the next
    K: tl.constexpr,
    K_PAD: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sum x[m, i * LINE + k] * w[i, k, n] over kernel lines i and k < K into acc[m, n].

    K, the taps of a line rounded up to BLOCK_K, is run without a mask: what lies beyond the taps
    meets zero weights, and gaps between lines and images hold zeros.
    """
    offs_k = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    STEPS: tl.constexpr = K // BLOCK_K
    for step in tl.range(0, LINES * STEPS, num_stages=STAGES):
        line = step // STEPS
        k = (step % STEPS) * BLOCK_K
        x = tl.load(x_ptrs[:, None] + (line * LINE + k + offs_k)[None, :])
        w = tl.load(w_ptr + (line * K_PAD + k + offs_k)[:, None] * N_PAD + offs_n[None, :])
        acc = dot(x, w, acc, PRECISION)
    return acc


def interpreted() -> bool:
    """Say whether the kernels were imported under TRITON_INTERPRET=1, for its interpreter."""
    return not isinstance(dot, triton.runtime.JITFunction)


def precision_of(tensor: Tensor) -> str:
    """Choose how `dot` computes: "ieee", never TF32; "widen" for bfloat16 in the interpreter.

    Triton's interpreter keeps bfloat16 as 16-bit integers, multiplies them as such and truncates
    where a GPU rounds. Widening to float32 first is exact.
    """
    return "widen" if interpreted() and tensor.dtype == torch.bfloat16 else "ieee"
