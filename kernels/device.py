"""Several kernels share these device functions.

Of int8, a weight has its columns first, and b is a table of three rows: see `fold.int8_layout`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..int8 import LARGEST
from .layout import TABLE_ROWS
from .tiles import LONGEST, PAIRED
from .versions import require_triton

require_triton()  # before any kernel is made: an old Triton would fail on it in its own words

TABLE = tl.constexpr(TABLE_ROWS)
MAGIC = tl.constexpr(1.5 * 2**23)  # added to a small float32, it leaves no fraction: nearest even
WHOLE_K = tl.constexpr(LONGEST)  # to whose multiples the rows of weights are padded
PAIRS = tl.constexpr(PAIRED)
MOST = tl.constexpr(float(LARGEST))


@triton.jit
def relu(x):
    """Do as PyTorch does: NaN passes through, where PTX's max.f32 would turn it into 0."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """Return acc + a @ b, accumulated in float32, of int8 in int32; see `precision_of`."""
    if PRECISION == "widen":
        a, b = a.to(tl.float32), b.to(tl.float32)
        if acc.dtype == tl.int32:  # at most 64 products of 127 * 127: exact in float32
            return acc + tl.dot(a, b, input_precision="ieee").to(tl.int32)
    if PRECISION == "ieee" and a.dtype == tl.float32:
        # sums of a block each: one running sum over a long K loses too much. As a product, because
        # the compiler would make one running sum of a plain addition.
        return tl.fma(tl.dot(a, b, input_precision="ieee"), 1.0, acc)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def narrow(x, like, PRECISION: tl.constexpr):
    """Round float32 x to nearest even in the element type of the pointer `like`."""
    if like.dtype.element_ty == tl.int8:
        return ((tl.minimum(tl.maximum(x, -MOST), MOST) + MAGIC) - MAGIC).to(tl.int8)
    if PRECISION == "widen":  # the interpreter would truncate: round before it does
        bits = x.to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(like.dtype.element_ty)


@triton.jit
def scale_add(x, scale, y, PRECISION: tl.constexpr):
    """Return x * scale + y in float32, rounded once; x may be of whole numbers."""
    x = x.to(tl.float32)
    if PRECISION == "widen":  # the interpreter would round twice
        return (x.to(tl.float64) * scale.to(tl.float64) + y.to(tl.float64)).to(tl.float32)
    return tl.fma(x, scale, y)


@triton.jit
def add_bias(sums, b_ptr, offs_n, N_PAD: tl.constexpr, PRECISION: tl.constexpr):
    """Return sums + bias in float32: of int8, sums * scale + bias, in quanta of the output."""
    bias = tl.load(b_ptr + offs_n)[None, :]
    if sums.dtype == tl.int32:
        return scale_add(sums, tl.load(b_ptr + N_PAD + offs_n)[None, :], bias, PRECISION)
    return sums + bias


@triton.jit
def add_scaled(x, y, b_ptr, offs_n, N_PAD: tl.constexpr, PRECISION: tl.constexpr):
    """Return x + y in float32: of int8 x, x * ratio + y, in quanta of y."""
    if x.dtype == tl.int8:
        ratio = tl.load(b_ptr + 2 * N_PAD + offs_n)[None, :]
        return scale_add(x, ratio, y.to(tl.float32), PRECISION)
    return x.to(tl.float32) + y.to(tl.float32)


@triton.jit
def rescale(sums, b_ptr, offs_n, N_PAD: tl.constexpr, PRECISION: tl.constexpr):
    """Return int32 sums * ratio, rounded to int32: halves go up."""
    ratio = tl.load(b_ptr + 2 * N_PAD + offs_n)[None, :]
    half = tl.full(sums.shape, 0.5, tl.float32)
    return tl.floor(scale_add(sums, ratio, half, PRECISION)).to(tl.int32)


@triton.jit
def zero_sums(BLOCK_M: tl.constexpr, COLUMNS: tl.constexpr, w_ptr):
    """Return sums [BLOCK_M, width] side by side, the widest first: COLUMNS in powers of two.

    They are float32, or int32 for products with int8 weights at w_ptr.

    COLUMNS is a sum of at most three, as `TileConfig.columns` makes it: 112 is 64 + 32 + 16.
    """
    LAST: tl.constexpr = COLUMNS & -COLUMNS
    WITHOUT: tl.constexpr = COLUMNS - LAST
    MIDDLE: tl.constexpr = WITHOUT & -WITHOUT
    FIRST: tl.constexpr = WITHOUT - MIDDLE
    DTYPE: tl.constexpr = tl.int32 if w_ptr.dtype.element_ty == tl.int8 else tl.float32
    sums = (tl.zeros((BLOCK_M, LAST), DTYPE),)
    if MIDDLE > 0:
        sums = (tl.zeros((BLOCK_M, MIDDLE), DTYPE),) + sums  # type: ignore[assignment]  # noqa: RUF005
    if FIRST > 0:
        sums = (tl.zeros((BLOCK_M, FIRST), DTYPE),) + sums  # type: ignore[assignment]  # noqa: RUF005
    return sums


@triton.jit
def columns_of(w_ptrs, n0, sums, COLUMN: tl.constexpr):
    """Return the pointers of the sums' columns, from n0 on; w_ptrs [BLOCK_K, 1] are of column 0.

    COLUMN: elements from a column to the next.
    """
    ptrs = ()
    for i in tl.static_range(len(sums)):
        offs_n = n0 + tl.arange(0, sums[i].shape[1])
        ptrs = ptrs + (w_ptrs + offs_n[None, :] * COLUMN,)  # type: ignore[assignment]  # noqa: RUF005
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
    w_ptr,  # [K_PAD, N_PAD]; of int8 [N_PAD, K_PAD], as its matrix instructions read it
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
    INT8: tl.constexpr = w_ptr.dtype.element_ty == tl.int8
    ROW: tl.constexpr = 1 if INT8 else N_PAD
    COLUMN: tl.constexpr = (K + WHOLE_K - 1) // WHOLE_K * WHOLE_K if INT8 else 1
    w_tiles = columns_of(w_ptr + offs_k[:, None] * ROW, n0, sums, COLUMN)
    UNROLL: tl.constexpr = 2 if INT8 and STAGES == PAIRS else None
    for k in tl.range(0, K, BLOCK_K, num_stages=STAGES, loop_unroll_factor=UNROLL):
        if K % BLOCK_K == 0:
            x = tl.load(x_tile + k)
        else:
            x = tl.load(x_tile + k, mask=(k + offs_k < K)[None, :], other=0.0)
        sums = add_products(sums, x, w_tiles, k * ROW, PRECISION)
    return sums


@triton.jit
def conv_tile(
    x_ptrs,  # [BLOCK_M] first tap of each output pixel, in the planes layout
    w_ptr,  # [LINES, K_PAD, N_PAD]; of int8 [LINES, N_PAD, K_PAD]
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
    sums = zero_sums(BLOCK_M, COLUMNS, w_ptr)
    INT8: tl.constexpr = w_ptr.dtype.element_ty == tl.int8
    COLUMN: tl.constexpr = K_PAD if INT8 else 1
    STEPS: tl.constexpr = K // BLOCK_K
    UNROLL: tl.constexpr = 2 if INT8 and STAGES == PAIRS else None
    for step in tl.range(0, LINES * STEPS, num_stages=STAGES, loop_unroll_factor=UNROLL):
        line = step // STEPS
        k = (step % STEPS) * BLOCK_K
        x = tl.load(x_ptrs[:, None] + (line * LINE + k + offs_k)[None, :])
        if INT8:
            w_ptrs = w_ptr + (line * (K_PAD * N_PAD) + k + offs_k)[:, None]
        else:
            w_ptrs = w_ptr + (line * K_PAD + k + offs_k)[:, None] * N_PAD
        sums = add_products(sums, x, columns_of(w_ptrs, n0, sums, COLUMN), 0, PRECISION)
    return sums


def interpreted() -> bool:
    """Say whether the kernels were imported under TRITON_INTERPRET=1, for its interpreter."""
    return not isinstance(dot, triton.runtime.JITFunction)


def precision_of(tensor: Tensor) -> str:
    """Choose how `dot` computes: "ieee", never TF32; "widen" in the interpreter for some dtypes.

    Triton's interpreter keeps bfloat16 as 16-bit integers, multiplies them as such and truncates
    where a GPU rounds. Widening to float32 first is exact, and for int8 much faster.
    """
    widened = (torch.bfloat16, torch.int8)
    return "widen" if interpreted() and tensor.dtype in widened else "ieee"


def padded(w: Tensor) -> tuple[int, int]:
    """Return K_PAD and N_PAD of packed weights, whose int8 has its columns first."""
    rows, columns = w.shape[-2:]
    return (columns, rows) if w.dtype == torch.int8 else (rows, columns)
