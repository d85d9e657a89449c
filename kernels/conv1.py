"""A block's first 1x1 convolution: splits go to the planes, the last one straight into y.

out = relu(x @ w + b)                       # [N * H * W, scale * C], groups padded to C
planes[g][row of pixel] = out[:, group g]   # g < splits
y[:, last group] = out[:, last group]       # no concatenation, no copy
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .device import conv1x1_tile, precision_of, relu
from .layout import PlanesLayout
from .tiles import TileConfig


@triton.jit
def conv1_kernel(
    x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, M,
    PLANE: tl.constexpr, IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    C: tl.constexpr, SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """x [M, K], w [K_PAD, N_PAD], b [N_PAD]; grid (row tiles, column tiles)."""
    offs_m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = conv1x1_tile(
        x_ptr, w_ptr, offs_m, offs_n, M, K, K_PAD, N_PAD,
        BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
    )  # fmt: skip
    bias = tl.load(b_ptr + offs_n)
    out = relu(acc + bias[None, :]).to(y_ptr.dtype.element_ty)  # [BLOCK_M, BLOCK_N]

    # a group is a multiple of 8 wide, so 8 neighbouring columns stay neighbours
    group = offs_n // C
    column = tl.max_contiguous(tl.multiple_of(offs_n % C, 8), 8)
    image, pixel = offs_m // (H * W), offs_m % (H * W)
    row = (W + 2) + image * IMAGE_ROWS + (pixel // W) * (W + 1) + pixel % W
    inside = (offs_m < M)[:, None]
    plane_ptrs = planes_ptr + group.to(tl.int64)[None, :] * PLANE + row[:, None] * C
    tl.store(plane_ptrs + column[None, :], out, mask=inside & (group < SPLITS)[None, :])
    y_ptrs = y_ptr + offs_m[:, None] * Y_WIDTH + (SPLITS * C + column)[None, :]
    tl.store(y_ptrs, out, mask=inside & (group == SPLITS)[None, :])


def conv1(
    x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, layout: PlanesLayout,
    tile: TileConfig,
) -> None:  # fmt: skip
    """x [N * H * W, K] -> planes [splits, rows, C] and the last group of y [N * H * W, groups * C].

    w [K_PAD, N_PAD] in x's dtype and b [N_PAD] in float32 are zero-filled to whole tiles.
    """
    rows = x.shape[0]
    grid = (triton.cdiv(rows, tile.block_m), w.shape[1] // tile.block_n)
    conv1_kernel[grid](
        x, w, b, planes, y, rows,
        PLANE=layout.rows * layout.C, IMAGE_ROWS=layout.image_rows, H=layout.H, W=layout.W,
        K=x.shape[1], K_PAD=w.shape[0], N_PAD=w.shape[1],
        C=layout.C, SPLITS=planes.shape[0], Y_WIDTH=y.shape[1],
        BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, BLOCK_K=tile.block_k,
        STAGES=tile.stages, PRECISION=precision_of(x), num_warps=tile.warps,
    )  # fmt: skip
