"""A block's last 1x1 convolution, with bias, shortcut and ReLU.

out = relu(y @ w + b + shortcut)
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .device import conv1x1_tile, precision_of, relu
from .tiles import TileConfig


@triton.jit
def conv3_kernel(
    y_ptr, w_ptr, b_ptr, shortcut_ptr, out_ptr, M,
    K: tl.constexpr, K_PAD: tl.constexpr, N: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y [M, K], w [K_PAD, N_PAD], b [N_PAD], shortcut and out [M, N]; grid (row, column tiles)."""
    offs_m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = conv1x1_tile(
        y_ptr, w_ptr, offs_m, offs_n, M, K, K_PAD, N_PAD,
        BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
    )  # fmt: skip
    acc += tl.load(b_ptr + offs_n)[None, :]
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    offsets = offs_m[:, None] * N + offs_n[None, :]
    acc += tl.load(shortcut_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + offsets, relu(acc).to(out_ptr.dtype.element_ty), mask=mask)


def conv3(y: Tensor, w: Tensor, b: Tensor, shortcut: Tensor, out: Tensor, tile: TileConfig) -> None:
    """out [M, N] = relu(y [M, K] @ w + b + shortcut [M, N]); out may be the shortcut itself.

    w [K_PAD, N_PAD] in y's dtype and b [N_PAD] in float32 are zero-filled to whole tiles.
    """
    grid = (triton.cdiv(y.shape[0], tile.block_m), w.shape[1] // tile.block_n)
    conv3_kernel[grid](
        y, w, b, shortcut, out, y.shape[0],
        K=y.shape[1], K_PAD=w.shape[0], N=out.shape[1], N_PAD=w.shape[1],
        BLOCK_M=tile.block_m, BLOCK_N=tile.block_n, BLOCK_K=tile.block_k,
        STAGES=tile.stages, PRECISION=precision_of(y), num_warps=tile.warps,
    )  # fmt: skip
