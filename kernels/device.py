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
def zero_sums(BLOCK_M: tl.constexpr, COLUMNS: tl.constexpr):
    """Return sums [BLOCK_M, width] side by side, the widest first: COLUMNS in powers of two.

    COLUMNS is a sum of at most three, as `TileConfig.columns` makes it: 112 is 64 + 32 + 16.
    """
    LAST: tl.constexpr = COLUMNS & -COLUMNS
    WITHOUT: tl.constexpr = COLUMNS - LAST
    MIDDLE: tl.constexpr = WITHOUT & -WITHOUT
    FIRST: tl.constexpr = WITHOUT - MIDDLE
    sums = (tl.zeros((BLOCK_M, LAST), tl.float32),)
    if MIDDLE > 0:
        sums = (tl.zeros((BLOCK_M, MIDDLE), tl.float32),) + sums  # type: ignore[assignment]  # noqa: RUF005
    if FIRST > 0:
        sums = (tl.zeros((BLOCK_M, FIRST), tl.float32),) + sums  # type: ignore[assignment]  # noqa: RUF005
    return sums


@triton.jit
def columns_of(w_ptrs, n0, sums):
    """Return the pointers of the sums' columns, from n0 on; w_ptrs [BLOCK_K, 1] are of column 0."""
    ptrs = ()
    for i in tl.static_range(len(sums)):
        offs_n = n0 + tl.arange(0, sums[i].shape[1])
        ptrs = ptrs + (w_ptrs + offs_n[None, :],)  # type: ignore[assignment]  # noqa: RUF005
        n0 += sums[i].shape[1]
    return ptrs


@triton.jit
def add_products(sums, x, w_ptrs, offset, PRECISION: tl.constexpr):
    """Return the sums + x @ w, with x loaded once; w_ptrs of `columns_of`, all so much further."""
    added = ()
    for i in tl.static_range(len(sums)):
        w = tl.load(w_ptrs[i] + offset)
        added = added + (dot(x, w, sums[i], PRECISION),)  # type: ignore[assignment]  # noqa: RUF005
    return added


@triton.jit
def gemm_tile(
    x_ptrs,  # [BLOCK_M] first element of each row
    w_ptr,  # [K_PAD, N_PAD]
    n0,  # first column
    sums,  # of `zero_sums`
    K: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return sums[m, n] + sum over k < K of x[m, k] * w[k, n]; w has zeros or more beyond K."""
    offs_k = tl.arange(0, BLOCK_K)
    x_tile = x_ptrs[:, None] + offs_k[None, :]
    w_tiles = columns_of(w_ptr + offs_k[:, None] * N_PAD, n0, sums)
    for k in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        if K % BLOCK_K == 0:
            x = tl.load(x_tile + k)
        else:
            x = tl.load(x_tile + k, mask=(k + offs_k < K)[None, :], other=0.0)
        sums = add_products(sums, x, w_tiles, k * N_PAD, PRECISION)
    return sums


@triton.jit
def conv_tile(
    x_ptrs,  # [BLOCK_M] first tap of each output pixel, in the planes layout
    w_ptr,  # [LINES, K_PAD, N_PAD]
    n0,  # first column
    LINES: tl.constexpr,
    LINE: tl.constexpr,  # elements from a kernel line to the next
    K: tl.constexpr,
    K_PAD: tl.constexpr,
    N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sum x[m, i * LINE + k] * w[i, k, n] over kernel lines i and k < K into `zero_sums`.

    K, the taps of a line rounded up to BLOCK_K, is run without a mask: what lies beyond the taps
    meets zero weights, and gaps between lines and images hold zeros.
    """
    offs_k = tl.arange(0, BLOCK_K)
    sums = zero_sums(BLOCK_M, COLUMNS)
    STEPS: tl.constexpr = K // BLOCK_K
    for step in tl.range(0, LINES * STEPS, num_stages=STAGES):
        line = step // STEPS
        k = (step % STEPS) * BLOCK_K
        x = tl.load(x_ptrs[:, None] + (line * LINE + k + offs_k)[None, :])
        w_ptrs = w_ptr + (line * K_PAD + k + offs_k)[:, None] * N_PAD
        sums = add_products(sums, x, columns_of(w_ptrs, n0, sums), 0, PRECISION)
    return sums


def interpreted() -> bool:
    """Say whether the kernels were imported under TRITON_INTERPRET=1, for its interpreter."""
    return not isinstance(dot, triton.runtime.JITFunction)


def precision_of(tensor: Tensor) -> str:
    """Choose how `dot` computes: "ieee", never TF32; "widen" for bfloat16 in the interpreter.

    Triton's interpreter keeps bfloat16 as 16-bit integers, multiplies them as such and truncates
    where a GPU rounds. Widening to float32 first is exact.
    """
    return "widen" if interpreted() and tensor.dtype == torch.bfloat16 else "ieee"
