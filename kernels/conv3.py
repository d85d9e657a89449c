"""A block's last 1x1 convolution adds bias and shortcut, and applies ReLU.

out = relu(y @ w + b + x)                   # the shortcut is the block's input
out = relu(y @ w + x @ ws + b)              # or its strided projection, a second K loop
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import (
    add_bias,
    add_scaled,
    gemm_tile,
    narrow,
    padded,
    precision_of,
    relu,
    rescale,
    zero_sums,
)
from .layout import pad_to
from .op import Faults, Op
from .op_checks import AtLeast, at_least_one, images, matrix, pixels, shape
from .tiles import MIN_BLOCK, TileConfig


@triton.jit
def conv3_tile(
    y_ptr, w_ptr, b_ptr, x_ptr, ws_ptr, out_ptr, m0, M, n0,
    K: tl.constexpr, KS: tl.constexpr, N: tl.constexpr, N_PAD: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, STRIDE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_KS: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    offs_m = m0 + tl.arange(0, BLOCK_M)
    offs_n = n0 + tl.arange(0, BLOCK_N)
    read = tl.minimum(offs_m, M - 1)  # rows beyond M read row M - 1 again: no mask in the loops
    sums = zero_sums(BLOCK_M, BLOCK_N, w_ptr)
    y_ptrs = y_ptr + read.to(tl.int64) * K
    sums = gemm_tile(y_ptrs, w_ptr, n0, sums, K, N_PAD, BLOCK_K, STAGES, PRECISION)
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    offsets = offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
    if KS > 0:
        image, pixel = read // (HO * WO), read % (HO * WO)
        source = (pixel // WO) * (STRIDE * W) + (pixel % WO) * STRIDE
        x_ptrs = x_ptr + (image.to(tl.int64) * (H * W) + source) * KS
        if w_ptr.dtype.element_ty == tl.int8:
            sums = (rescale(sums[0], b_ptr, offs_n, N_PAD, PRECISION),)
        sums = gemm_tile(x_ptrs, ws_ptr, n0, sums, KS, N_PAD, BLOCK_KS, STAGES, PRECISION)
    (acc,) = sums
    if KS == 0:
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
        if w_ptr.dtype.element_ty == tl.int8:
            acc = add_bias(acc, b_ptr, offs_n, N_PAD, PRECISION)
            acc = add_scaled(x, acc, b_ptr, offs_n, N_PAD, PRECISION)
        else:
            acc += x.to(tl.float32)
            acc += tl.load(b_ptr + offs_n)[None, :]
    else:
        acc = add_bias(acc, b_ptr, offs_n, N_PAD, PRECISION)
    tl.store(out_ptr + offsets, narrow(relu(acc), out_ptr, PRECISION), mask=mask)


@triton.jit(do_not_specialize=["M"])
def conv3_kernel(
    y_ptr, w_ptr, b_ptr, x_ptr, ws_ptr, out_ptr, M,
    K: tl.constexpr, KS: tl.constexpr, N: tl.constexpr, N_PAD: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, STRIDE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_KS: tl.constexpr,
    HALF: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take y [M, K], out [M, N]; x [M, N], or [N * H * W, KS] where KS > 0. Columns fastest."""
    COLUMNS: tl.constexpr = tl.cdiv(N, BLOCK_N)
    m0, n0 = tl.program_id(0) // COLUMNS * BLOCK_M, tl.program_id(0) % COLUMNS * BLOCK_N
    if (m0 + HALF >= M) if HALF > 0 else False:
        conv3_tile(
            y_ptr, w_ptr, b_ptr, x_ptr, ws_ptr, out_ptr, m0, M, n0, K, KS, N, N_PAD,
            H, W, HO, WO, STRIDE, HALF, BLOCK_N, BLOCK_K, BLOCK_KS, STAGES, PRECISION,
        )  # fmt: skip
    else:
        conv3_tile(
            y_ptr, w_ptr, b_ptr, x_ptr, ws_ptr, out_ptr, m0, M, n0, K, KS, N, N_PAD,
            H, W, HO, WO, STRIDE, BLOCK_M, BLOCK_N, BLOCK_K, BLOCK_KS, STAGES, PRECISION,
        )  # fmt: skip


def conv3(y: Tensor, w: Tensor, b: Tensor, x: Tensor, out: Tensor, *, tile: TileConfig) -> Calls:
    """Compute out [M, N] = relu(y [M, K] @ w + b + x [M, N]); out may be x itself.

    w [>= K, N_PAD] in y's dtype and b [N_PAD] in float32 are zero-filled to whole tiles.
    """
    return _calls(y, w, b, x, w, out, tile, {"KS": 0, "H": 1, "W": 1, "HO": 1, "WO": 1}, 1, 16)


def conv3_project(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, ws: Tensor, out: Tensor, *,
    H: int, W: int, stride: int, tile: TileConfig, block_ks: int,
) -> Calls:  # fmt: skip
    """Compute out [M, N] = relu(y [M, K] @ w + x[every stride-th pixel] @ ws + b).

    x [N * H * W, KS]; M = N * ceil(H / stride) * ceil(W / stride); b is the sum of both biases.
    w [>= K, N_PAD], ws [>= KS, N_PAD] in y's dtype and b [N_PAD] in float32 are zero-filled.
    """
    geometry = {"KS": x.shape[1], "H": H, "W": W, "HO": -(-H // stride), "WO": -(-W // stride)}
    return _calls(y, w, b, x, ws, out, tile, geometry, stride, block_ks)


def _calls(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, ws: Tensor, out: Tensor, tile: TileConfig,
    geometry: dict[str, int], stride: int, block_ks: int,
) -> Calls:  # fmt: skip
    rows, n = out.shape
    constants = {
        "K": y.shape[1], "N": n, "N_PAD": padded(w)[1], **geometry, "STRIDE": stride,
        **tile.constants, "BLOCK_KS": block_ks, "HALF": tile.half, "PRECISION": precision_of(y),
    }  # fmt: skip
    args: Arguments = {"y_ptr": y, "w_ptr": w, "b_ptr": b, "x_ptr": x, "ws_ptr": ws}
    args |= {"out_ptr": out, "M": rows}
    grid = tile.row_tiles(rows) * -(-n // tile.block_n)
    return (Call(conv3_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, out: Tensor, *, tile: TileConfig
) -> Faults:
    yield from shape("y", y, None, None)
    yield from shape("out", out, y.shape[0], None)
    yield from shape("x", x, *out.shape)
    yield from matrix(w, b, y.shape[1], out.shape[1], tile)


def project_contract(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, ws: Tensor, out: Tensor, *,
    H: int, W: int, stride: int, tile: TileConfig, block_ks: int,
) -> Faults:  # fmt: skip
    yield from at_least_one("stride", stride)
    yield from images("x", x, H, W)
    yield from shape("y", y, pixels(x, H, W, stride), None)
    yield from shape("out", out, y.shape[0], None)
    if block_ks < MIN_BLOCK or block_ks & (block_ks - 1):
        yield f"block_ks must be a power of two from {MIN_BLOCK}, got {block_ks}"
    yield from matrix(w, b, y.shape[1], out.shape[1], tile)
    yield from shape("ws", ws, AtLeast(pad_to(x.shape[1], block_ks)), w.shape[1])


OP = Op(conv3, contract, reads=("y", "x"), writes=("out",), kernel_options=("tile",))
PROJECT_OP = Op(
    conv3_project, project_contract, reads=("y", "x"), writes=("out",), weights=("w", "b", "ws"),
    kernel_options=("tile", "block_ks"),
)  # fmt: skip
