"""A block's first 1x1 convolution writes splits to the planes, the last one straight into y.

out = relu(x @ w + b)                       # [N * H * W, groups * C], groups padded to C
planes[g][row of pixel] = out[:, group g]   # g < planes
y[:, last group] = out[:, last group]       # where the planes do not hold it: no concatenation
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import add_bias, gemm_tile, narrow, padded, precision_of, relu, zero_sums
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import matrix, shape, three_by_three
from .tiles import TileConfig


@triton.jit
def conv1_tile(
    x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, m0, M, plane, n0,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr,
    N: tl.constexpr, N_PAD: tl.constexpr, C: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    offs_m = m0 + tl.arange(0, BLOCK_M)
    # rows beyond M read row M - 1 again: no mask in the loop
    x_ptrs = x_ptr + tl.minimum(offs_m, M - 1).to(tl.int64) * K
    sums = zero_sums(BLOCK_M, COLUMNS, w_ptr)
    sums = gemm_tile(x_ptrs, w_ptr, n0, sums, K, N_PAD, BLOCK_K, STAGES, PRECISION)

    image, pixel = offs_m // (H * W), offs_m % (H * W)
    line, w = pixel // W, pixel % W
    row = (W + 2) + image.to(tl.int64) * IMAGE_ROWS + line * (W + 1) + w  # [BLOCK_M]
    for i in tl.static_range(len(sums)):
        offs_n = n0 + tl.arange(0, sums[i].shape[1])
        out = add_bias(sums[i], b_ptr, offs_n, N_PAD, PRECISION)
        out = narrow(relu(out), planes_ptr, PRECISION)
        # a group is a multiple of 8 wide, so 8 neighbouring columns stay neighbours
        group = offs_n // C
        column = tl.max_contiguous(tl.multiple_of(offs_n % C, 8), 8)
        inside = (offs_m < M)[:, None] & (offs_n < N)[None, :]
        plane_ptrs = planes_ptr + row[:, None] * C + (group.to(tl.int64) * plane + column)[None, :]
        tl.store(plane_ptrs, out, mask=inside & (group < SPLITS)[None, :])
        if SPLITS * C < N:
            y_ptrs = y_ptr + offs_m.to(tl.int64)[:, None] * N + offs_n[None, :]
            tl.store(y_ptrs, out, mask=inside & (group == SPLITS)[None, :])
        n0 += sums[i].shape[1]


@triton.jit(do_not_specialize=["M"])
def conv1_kernel(
    x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, M, plane: tl.int64,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr,
    N: tl.constexpr, N_PAD: tl.constexpr, C: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    FULL: tl.constexpr, TAIL: tl.constexpr, HALF: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take x [M, K], w [K_PAD, N_PAD], b [N_PAD]; row tiles x column tiles, columns fastest."""
    TILES: tl.constexpr = FULL + (TAIL > 0)
    m0, tile = tl.program_id(0) // TILES * BLOCK_M, tl.program_id(0) % TILES
    # not `and`: up to Triton 3.3 it is no constant, so that all branches would be compiled
    if (tile == FULL) if TAIL > 0 else False:
        conv1_tile(
            x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, m0, M, plane, FULL * BLOCK_N,
            IMAGE_ROWS, H, W, K, N, N_PAD, C, SPLITS, BLOCK_M, TAIL, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip
    elif (m0 + HALF >= M) if HALF > 0 else False:
        conv1_tile(
            x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, m0, M, plane, tile * BLOCK_N,
            IMAGE_ROWS, H, W, K, N, N_PAD, C, SPLITS, HALF, BLOCK_N, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip
    else:
        conv1_tile(
            x_ptr, w_ptr, b_ptr, planes_ptr, y_ptr, m0, M, plane, tile * BLOCK_N,
            IMAGE_ROWS, H, W, K, N, N_PAD, C, SPLITS, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip


def conv1(
    x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, *, layout: PlanesLayout,
    tile: TileConfig,
) -> Calls:  # fmt: skip
    """Write the groups of x [N * H * W, K] @ w to planes [splits, rows, C], the rest to y.

    y [N * H * W, groups * C] is not touched where the planes hold every group (a first block).
    w [>= K, N_PAD] in x's dtype and b [N_PAD] in float32 are zero-filled to whole tiles.
    """
    rows, n = x.shape[0], y.shape[1]
    full, tail = tile.columns(n)
    constants = {
        "IMAGE_ROWS": layout.image_rows, "H": layout.H, "W": layout.W,
        "K": x.shape[1], "N": n, "N_PAD": padded(w)[1], "C": layout.C, "SPLITS": planes.shape[0],
        **tile.constants, "FULL": full, "TAIL": tail, "HALF": tile.half,
        "PRECISION": precision_of(x),
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "w_ptr": w, "b_ptr": b, "planes_ptr": planes, "y_ptr": y}
    args |= {"M": rows, "plane": planes.stride(0)}
    grid = tile.row_tiles(rows) * tile.column_tiles(n)
    return (Call(conv1_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(
    x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, *, layout: PlanesLayout,
    tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from three_by_three(layout)
    yield from shape("x", x, layout.N * layout.H * layout.W, None)
    yield from shape("planes", planes, None, layout.rows, layout.C)
    yield from shape("y", y, None, None)
    splits, n = planes.shape[0], y.shape[1]
    if n not in (splits * layout.C, (splits + 1) * layout.C):
        yield (
            f"y must have a group of {layout.C} channels for each of the {splits} planes, "
            f"and perhaps one more, got {n} channels"
        )
    if n > splits * layout.C:  # the last group goes there
        yield from shape("y", y, x.shape[0], n)
    yield from matrix(w, b, x.shape[1], n, tile)


OP = Op(conv1, contract, reads=("x",), writes=("planes", "y"), kernel_options=("tile",))
