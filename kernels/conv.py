"""A stem convolution, with bias and ReLU, reads one padded plane and writes rows or another one."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import conv_tile, narrow, precision_of, relu
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import at_least_one, shape, taps
from .tiles import TileConfig


@triton.jit(do_not_specialize=["M"])
def conv_kernel(
    x_ptr, w_ptr, b_ptr, out_ptr, M,
    IMAGE_ROWS: tl.constexpr, PITCH: tl.constexpr, C: tl.constexpr, R: tl.constexpr,
    STRIDE: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, N: tl.constexpr,
    OUT_FRONT: tl.constexpr, OUT_ROWS: tl.constexpr, OUT_PITCH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take x [rows, C], w [R, K_PAD, N_PAD], b [N_PAD]; M = images * HO * WO. Columns fastest.

    Output pixel (n, h, w) is row OUT_FRONT + n * OUT_ROWS + h * OUT_PITCH + w of [rows, N].
    """
    COLUMNS: tl.constexpr = tl.cdiv(N, BLOCK_N)
    offs_m = tl.program_id(0) // COLUMNS * BLOCK_M + tl.arange(0, BLOCK_M)
    n0 = tl.program_id(0) % COLUMNS * BLOCK_N
    offs_n = n0 + tl.arange(0, BLOCK_N)
    read = tl.minimum(offs_m, M - 1)  # rows beyond M read the last pixel again
    image, pixel = (read // (HO * WO)).to(tl.int64), read % (HO * WO)
    h, w = pixel // WO, pixel % WO
    taps = x_ptr + (image * IMAGE_ROWS + h * (STRIDE * PITCH) + w * STRIDE) * C
    (acc,) = conv_tile(
        taps, w_ptr, n0, R, PITCH * C, K, K_PAD, N_PAD,
        BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
    )  # fmt: skip
    out = narrow(relu(acc + tl.load(b_ptr + offs_n)[None, :]), out_ptr, PRECISION)
    row = OUT_FRONT + image * OUT_ROWS + h * OUT_PITCH + w  # [BLOCK_M]
    mask = (offs_m < M)[:, None] & (offs_n < N)[None, :]
    tl.store(out_ptr + row[:, None] * N + offs_n[None, :], out, mask=mask)


def conv(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    out_layout: PlanesLayout | None, tile: TileConfig,
) -> Calls:  # fmt: skip
    """Convolve x [1, rows, C] into out [N * Ho * Wo, Co], or [1, rows, Co] as out_layout says.

    w [1, R, K_PAD, N_PAD] in x's dtype and b [1, N_PAD] in float32 are zero-filled.
    """
    ho, wo = -(-layout.H // stride), -(-layout.W // stride)
    rows = layout.N * ho * wo
    n = out.shape[-1]
    place = {"OUT_FRONT": 0, "OUT_ROWS": ho * wo, "OUT_PITCH": wo}
    if out_layout is not None:
        place = {
            "OUT_FRONT": out_layout.front, "OUT_ROWS": out_layout.image_rows,
            "OUT_PITCH": out_layout.pitch,
        }  # fmt: skip
    constants = {
        "IMAGE_ROWS": layout.image_rows, "PITCH": layout.pitch, "C": layout.C, "R": layout.R,
        "STRIDE": stride, "HO": ho, "WO": wo, "N": n, **place,
        "K": layout.k, "K_PAD": w.shape[2], "N_PAD": w.shape[3],
        **tile.constants, "PRECISION": precision_of(x),
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "w_ptr": w, "b_ptr": b, "out_ptr": out, "M": rows}
    grid = tile.row_tiles(rows) * -(-n // tile.block_n)
    return (Call(conv_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    out_layout: PlanesLayout | None, tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from shape("x", x, 1, layout.rows, layout.C)
    yield from at_least_one("stride", stride)
    n, ho, wo = layout.N, -(-layout.H // stride), -(-layout.W // stride)
    if out_layout is None:
        yield from shape("out", out, n * ho * wo, None)
    else:
        got = [out_layout.N, out_layout.H, out_layout.W]
        if got != [n, ho, wo]:
            yield f"out_layout must be of N, H, W = {[n, ho, wo]}, got {got}"
        yield from shape("out", out, 1, out_layout.rows, out_layout.C)
    yield from taps(w, b, 1, layout, out.shape[-1], tile)


OP = Op(conv, contract, reads=("x",), writes=("out",), kernel_options=("tile",))
