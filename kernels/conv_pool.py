"""The stem's last convolution, with bias and ReLU, goes straight through the 3x3 max pool.

    for row in 2 i - 1 .. 2 (i + BAND) - 1 of the convolution:       # the first one overlaps
        best = max(best, relu(conv(x)[row] + b))                     # [BLOCK_M columns, BLOCK_N]
        if row is odd: out[row // 2] = max of best's columns 2 j - 1, 2 j, 2 j + 1

The convolution's map, four times the output, is never in memory. Its rows and columns between two
programs are computed twice. Beyond its edges lies 0: after ReLU nothing is smaller.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import conv_tile, narrow, precision_of, relu
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import at_least_one, shape, taps
from .tiles import POOL_BAND, TileConfig, pool_programs


@triton.jit
def larger(a, b, like, PRECISION: tl.constexpr):
    """Let NaN win, as PyTorch's pool does. In float32: the interpreter has no bfloat16."""
    best = tl.maximum(a.to(tl.float32), b.to(tl.float32), propagate_nan=tl.PropagateNan.ALL)
    return narrow(best, like, PRECISION)


@triton.jit
def column(best, first, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return every second column of the map from `first` on: [BLOCK_M / 2, BLOCK_N]."""
    index = tl.minimum(2 * tl.arange(0, BLOCK_M // 2) + first, BLOCK_M - 1)
    return tl.gather(best, tl.broadcast_to(index[:, None], (BLOCK_M // 2, BLOCK_N)), 0)


@triton.jit
def conv_pool_kernel(
    x_ptr, w_ptr, b_ptr, out_ptr,
    IMAGE_ROWS: tl.constexpr, PITCH: tl.constexpr, C: tl.constexpr, R: tl.constexpr,
    STRIDE: tl.constexpr, HC: tl.constexpr, WC: tl.constexpr, N: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    BAND: tl.constexpr, BANDS: tl.constexpr, ACROSS: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take x [rows, C], w [R, K_PAD, N_PAD], b [N_PAD]; write out [images * HO * WO, N].

    The convolution's map is HC x WC. Images x bands x tiles along a row x channels, these fastest.
    """
    HO: tl.constexpr = (HC + 1) // 2
    WO: tl.constexpr = (WC + 1) // 2
    COLUMNS: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    pid = tl.program_id(0)
    n0, pid = pid % COLUMNS * BLOCK_N, pid // COLUMNS
    j0, pid = pid % ACROSS * (BLOCK_M // 2 - 1), pid // ACROSS  # the next tile repeats two columns
    i0, image = pid % BANDS * BAND, (pid // BANDS).to(tl.int64)
    offs_n = n0 + tl.arange(0, BLOCK_N)
    bias = tl.load(b_ptr + offs_n)[None, :]

    w = 2 * j0 - 1 + tl.arange(0, BLOCK_M)  # [BLOCK_M] columns of the map
    inside = (w >= 0) & (w < WC)
    x_ptr += (image * IMAGE_ROWS) * C
    x_columns = tl.minimum(tl.maximum(w, 0), WC - 1) * (STRIDE * C)
    j = j0 + tl.arange(0, BLOCK_M // 2)  # [BLOCK_M / 2] columns of the output
    wanted = (j < WO) & (j < j0 + BLOCK_M // 2 - 1)
    best = tl.zeros((BLOCK_M, BLOCK_N), x_ptr.dtype.element_ty)
    for step in tl.range(0, 2 * BAND + 1, num_stages=1):
        h = 2 * i0 - 1 + step
        rows = tl.minimum(tl.maximum(h, 0), HC - 1) * (STRIDE * PITCH * C)
        (acc,) = conv_tile(
            x_ptr + rows + x_columns, w_ptr, n0, R, PITCH * C, K, K_PAD, N_PAD,
            BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip
        there = (inside & (h >= 0) & (h < HC))[:, None]
        row = narrow(tl.where(there, relu(acc + bias), 0.0), x_ptr, PRECISION)
        best = larger(best, row, x_ptr, PRECISION)
        if step % 2 == 0:
            i = i0 + step // 2 - 1
            if (step > 0) & (i < HO):
                pooled = column(best, 0, BLOCK_M, BLOCK_N)
                for k in tl.static_range(1, 3):
                    beside = column(best, k, BLOCK_M, BLOCK_N)
                    pooled = larger(pooled, beside, x_ptr, PRECISION)
                if out_ptr.dtype.element_ty == tl.int8:
                    pooled = narrow(pooled.to(tl.float32), out_ptr, PRECISION)
                offsets = ((image * HO + i) * WO + j)[:, None] * N + offs_n[None, :]
                mask = wanted[:, None] & (offs_n < N)[None, :]
                tl.store(out_ptr + offsets, pooled, mask=mask)
            best = row


def conv_pool(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    tile: TileConfig,
) -> Calls:  # fmt: skip
    """Convolve x [1, rows, C], pool, and write out [N * Ho * Wo, Co]; Ho = ceil(H / (2 * stride)).

    w [1, R, K_PAD, N_PAD] in x's dtype and b [1, N_PAD] in float32 are zero-filled. A tile is
    block_m columns of a row of the map. Where out is int8, the map is rounded to x's dtype before.
    """
    hc, wc = -(-layout.H // stride), -(-layout.W // stride)
    n = out.shape[-1]
    bands, across = pool_programs(hc, wc, tile.block_m)
    constants = {
        "IMAGE_ROWS": layout.image_rows, "PITCH": layout.pitch, "C": layout.C, "R": layout.R,
        "STRIDE": stride, "HC": hc, "WC": wc, "N": n,
        "K": layout.k, "K_PAD": w.shape[2], "N_PAD": w.shape[3],
        **tile.constants, "BAND": POOL_BAND, "BANDS": bands, "ACROSS": across,
        "PRECISION": precision_of(x),
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "w_ptr": w, "b_ptr": b, "out_ptr": out}
    grid = layout.N * bands * across * -(-n // tile.block_n)
    return (Call(conv_pool_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from shape("x", x, 1, layout.rows, layout.C)
    yield from at_least_one("stride", stride)
    ho, wo = (-(-size // (2 * stride)) for size in (layout.H, layout.W))
    yield from shape("out", out, layout.N * ho * wo, None)
    yield from taps(w, b, 1, layout, out.shape[-1], tile)


OP = Op(conv_pool, contract, reads=("x",), writes=("out",), kernel_options=("tile",), half=True)
