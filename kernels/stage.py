"""The hierarchical split-conv-add chain of one block takes one launch, or one per split.

    for g in splits:                                   # chained: a loop; split: one launch each
        for tile in tiles of this image:
            y_g[tile] = relu(conv3x3(planes[g])[tile] + b_g)
            if g is not the last: planes[g + 1][tile] += y_g[tile]
        barrier                                        # the next split reads neighbours' rows

In place: only its owner reads an element of planes[g + 1] before adding to it.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import TABLE, add_bias, add_scaled, conv_tile, narrow, padded, precision_of, relu
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import AtLeast, shape, taps, three_by_three
from .tiles import TileConfig


@triton.jit
def stage_tile(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m0, n0,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute a tile of one split of one image: y, and what the next split convolves."""
    PITCH: tl.constexpr = W + 1
    pixels = m0 + tl.arange(0, BLOCK_M)  # [BLOCK_M] of the image
    # the last tile repeats the image's last pixel: it must not read what another program writes
    read = tl.minimum(pixels, H * W - 1)
    rows = read + read // W  # lines are W + 1 apart
    # 64 bits: batch 4096 of 56 px exceeds 2^31 elements
    plane_ptr = planes_ptr + tl.cast(g, tl.int64) * plane + tl.cast(n, tl.int64) * (IMAGE_ROWS * C)
    sums = conv_tile(
        plane_ptr + rows * C, w_ptr + g * (3 * K_PAD * N_PAD), n0, 3, PITCH * C, K, K_PAD, N_PAD,
        BLOCK_M, COLUMNS, BLOCK_K, STAGES, PRECISION,
    )  # fmt: skip
    y_rows = tl.cast(n, tl.int64) * (H * W) + pixels
    ROWS: tl.constexpr = TABLE if w_ptr.dtype.element_ty == tl.int8 else 1
    for i in tl.static_range(len(sums)):
        offs_n = n0 + tl.arange(0, sums[i].shape[1])
        mask = (pixels < H * W)[:, None] & (offs_n < C)[None, :]
        table = b_ptr + g * (ROWS * N_PAD)
        out = add_bias(sums[i], table, offs_n, N_PAD, PRECISION)
        out = narrow(relu(out), y_ptr, PRECISION)
        tl.store(y_ptr + y_rows[:, None] * Y_WIDTH + (g * C + offs_n)[None, :], out, mask=mask)
        if g < SPLITS - 1:
            z_ptrs = plane_ptr + plane + (PITCH + 1 + rows)[:, None] * C + offs_n[None, :]
            x = tl.load(z_ptrs, mask=mask, other=0.0)
            z = add_scaled(out, x, table, offs_n, N_PAD, PRECISION)
            tl.store(z_ptrs, narrow(z, y_ptr, PRECISION), mask=mask)
        n0 += sums[i].shape[1]


@triton.jit
def stage_tiles(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m, tile,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    FULL: tl.constexpr, TAIL: tl.constexpr, HALF: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute row tile m, column tile `tile`; the last ones may be smaller than the others."""
    # not `and`: up to Triton 3.3 it is no constant, so that all branches would be compiled
    if (tile == FULL) if TAIL > 0 else False:
        stage_tile(
            planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m * BLOCK_M, FULL * BLOCK_N,
            IMAGE_ROWS, H, W, C, SPLITS, Y_WIDTH, K, K_PAD, N_PAD,
            BLOCK_M, TAIL, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip
    elif (m * BLOCK_M + HALF >= H * W) if HALF > 0 else False:
        stage_tile(
            planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m * BLOCK_M, tile * BLOCK_N,
            IMAGE_ROWS, H, W, C, SPLITS, Y_WIDTH, K, K_PAD, N_PAD,
            HALF, BLOCK_N, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip
    else:
        stage_tile(
            planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m * BLOCK_M, tile * BLOCK_N,
            IMAGE_ROWS, H, W, C, SPLITS, Y_WIDTH, K, K_PAD, N_PAD,
            BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
        )  # fmt: skip


@triton.jit
def stage_chained_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane: tl.int64,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    FULL: tl.constexpr, TAIL: tl.constexpr, HALF: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For throughput, one program per image walks all splits."""
    n = tl.program_id(0)
    for g in tl.range(0, SPLITS, num_stages=1):
        for m in tl.range(0, tl.cdiv(H * W, BLOCK_M), num_stages=1):
            for tile in tl.range(0, FULL + (TAIL > 0), num_stages=1):
                stage_tiles(
                    planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m, tile,
                    IMAGE_ROWS, H, W, C, SPLITS, Y_WIDTH, K, K_PAD, N_PAD,
                    BLOCK_M, BLOCK_N, BLOCK_K, FULL, TAIL, HALF, STAGES, PRECISION,
                )  # fmt: skip
        tl.debug_barrier()


@triton.jit(do_not_specialize=["g"])
def stage_split_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane: tl.int64, g,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    FULL: tl.constexpr, TAIL: tl.constexpr, HALF: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For latency, run one split in images x row tiles x column tiles, columns fastest."""
    TILES: tl.constexpr = FULL + (TAIL > 0)
    # not tl.cdiv: before Triton 3.7 its result is no constexpr, and the product of two fails
    ROWS: tl.constexpr = (H * W + BLOCK_M - 1) // BLOCK_M
    pid = tl.program_id(0)
    stage_tiles(
        planes_ptr, w_ptr, b_ptr, y_ptr, plane, pid // (ROWS * TILES), g,
        pid // TILES % ROWS, pid % TILES, IMAGE_ROWS, H, W, C, SPLITS, Y_WIDTH, K, K_PAD, N_PAD,
        BLOCK_M, BLOCK_N, BLOCK_K, FULL, TAIL, HALF, STAGES, PRECISION,
    )  # fmt: skip


def stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, tile: TileConfig,
    chained: bool,
) -> Calls:  # fmt: skip
    """Chain planes [splits, rows, C] into groups 0 .. splits - 1 of y [N * H * W, groups * C].

    w [splits, 3, K_PAD, N_PAD] in the planes' dtype and b [splits, N_PAD] in float32, zero-filled.
    chained: one launch, a program per image; else one launch per split, a program per tile.
    Both give the same bits. The planes are changed: each holds its split's sum afterwards.
    """
    full, tail = tile.columns(layout.C)
    k_pad, n_pad = padded(w)
    constants = {
        "IMAGE_ROWS": layout.image_rows, "H": layout.H, "W": layout.W, "C": layout.C,
        "SPLITS": planes.shape[0], "Y_WIDTH": y.shape[1],
        "K": layout.k, "K_PAD": k_pad, "N_PAD": n_pad,
        **tile.constants, "FULL": full, "TAIL": tail, "HALF": tile.half,
        "PRECISION": precision_of(planes),
    }  # fmt: skip
    args: Arguments = {"planes_ptr": planes, "w_ptr": w, "b_ptr": b, "y_ptr": y}
    args["plane"] = planes.stride(0)
    limits = tile.warps, tile.registers
    if chained:
        return (Call(stage_chained_kernel, layout.N, args, constants, *limits),)
    grid = layout.N * tile.row_tiles(layout.pixels) * tile.column_tiles(layout.C)
    return tuple(
        Call(stage_split_kernel, grid, {**args, "g": split}, constants, *limits)
        for split in range(planes.shape[0])
    )


def contract(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, tile: TileConfig,
    chained: bool,
) -> Faults:  # fmt: skip
    yield from three_by_three(layout)
    yield from shape("planes", planes, None, layout.rows, layout.C)
    splits = planes.shape[0]
    yield from shape("y", y, layout.N * layout.H * layout.W, AtLeast(splits * layout.C))
    yield from taps(w, b, splits, layout, layout.C, tile)


OP = Op(
    stage, contract, reads=("planes",), writes=("planes", "y"), kernel_options=("tile", "chained")
)
