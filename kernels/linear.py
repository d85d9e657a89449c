"""The classifier computes out = x @ w + b."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import gemm_tile, narrow, precision_of, zero_sums
from .op import Faults, Op
from .op_checks import matrix, shape
from .tiles import TileConfig


@triton.jit(do_not_specialize=["M"])
def linear_kernel(
    x_ptr, w_ptr, b_ptr, out_ptr, M,
    K: tl.constexpr, N: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take x [M, K], w [>= K, N_PAD], b [N_PAD], out [M, N]; columns fastest."""
    COLUMNS: tl.constexpr = tl.cdiv(N, BLOCK_N)
    offs_m = tl.program_id(0) // COLUMNS * BLOCK_M + tl.arange(0, BLOCK_M)
    n0 = tl.program_id(0) % COLUMNS * BLOCK_N
    offs_n = n0 + tl.arange(0, BLOCK_N)
    x_ptrs = x_ptr + tl.minimum(offs_m, M - 1).to(tl.int64) * K
    sums = zero_sums(BLOCK_M, BLOCK_N, w_ptr)
    (acc,) = gemm_tile(x_ptrs, w_ptr, n0, sums, K, N_PAD, BLOCK_K, STAGES, PRECISION)
    acc += tl.load(b_ptr + offs_n)[None, :]
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    target = out_ptr + offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
    tl.store(target, narrow(acc, out_ptr, PRECISION), mask=mask)


def linear(x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, tile: TileConfig) -> Calls:
    """Compute out [M, N] = x [M, K] @ w + b.

    w [>= K, N_PAD] in x's dtype and b [N_PAD] in float32 are zero-filled to whole tiles.
    """
    rows, n = out.shape
    constants = {
        "K": x.shape[1], "N": n, "N_PAD": w.shape[1],
        **tile.constants, "PRECISION": precision_of(x),
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "w_ptr": w, "b_ptr": b, "out_ptr": out, "M": rows}
    grid = tile.row_tiles(rows) * -(-n // tile.block_n)
    return (Call(linear_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, tile: TileConfig) -> Faults:
    yield from shape("x", x, None, None)
    yield from shape("out", out, x.shape[0], None)
    yield from matrix(w, b, x.shape[1], out.shape[1], tile)


OP = Op(linear, contract, reads=("x",), writes=("out",), kernel_options=("tile",))
