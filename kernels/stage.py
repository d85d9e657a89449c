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
from .device import conv_tile, narrow, precision_of, relu
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import AtLeast, shape, taps, three_by_three
from .tiles import TileConfig


@triton.jit
def stage_tile(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m, n0,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute a tile of one split of one image: y, and what the next split convolves."""
    PITCH: tl.constexpr = W + 1
    rows = m * BLOCK_M + tl.arange(0, BLOCK_M)  # [BLOCK_M] rows of the image
    offs_n = n0 + tl.arange(0, BLOCK_N)
    h, w = rows // PITCH, rows % PITCH
    mask = ((h < H) & (w < W))[:, None] & (offs_n < C)[None, :]  # gap rows stay zero
    # 64 bits: batch 4096 of 56 px exceeds 2^31 elements
    plane_ptr = planes_ptr + tl.cast(g, tl.int64) * plane + tl.cast(n, tl.int64) * (IMAGE_ROWS * C)
    # the last tile repeats the image's last pixel: it must not read what another program writes
    taps = plane_ptr + tl.minimum(rows, H * PITCH - 2) * C
    acc = conv_tile(
        taps, w_ptr + g * (3 * K_PAD * N_PAD), offs_n, 3, PITCH * C, K, K_PAD, N_PAD,
        BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
    )  # fmt: skip
    bias = tl.load(b_ptr + g * N_PAD + offs_n)
    out = narrow(relu(acc + bias[None, :]), y_ptr, PRECISION)  # [BLOCK_M, BLOCK_N]
    pixel = tl.cast(n, tl.int64) * (H * W) + h * W + w  # [BLOCK_M]
    tl.store(y_ptr + pixel[:, None] * Y_WIDTH + (g * C + offs_n)[None, :], out, mask=mask)
    if g < SPLITS - 1:
        z_ptrs = plane_ptr + plane + (PITCH + 1 + rows)[:, None] * C + offs_n[None, :]
        z = out.to(tl.float32) + tl.load(z_ptrs, mask=mask, other=0.0).to(tl.float32)
        tl.store(z_ptrs, narrow(z, y_ptr, PRECISION), mask=mask)


@triton.jit
def stage_chained_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane: tl.int64,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For throughput, one program per image walks all splits."""
    n = tl.program_id(0)
    for g in tl.range(0, SPLITS, num_stages=1):
        for m in tl.range(0, tl.cdiv(H * (W + 1), BLOCK_M), num_stages=1):
            for n0 in tl.range(0, C, BLOCK_N, num_stages=1):
                stage_tile(
                    planes_ptr, w_ptr, b_ptr, y_ptr, plane, n, g, m, n0, IMAGE_ROWS, H, W, C,
                    SPLITS, Y_WIDTH, K, K_PAD, N_PAD, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
                )  # fmt: skip
        tl.debug_barrier()


@triton.jit(do_not_specialize=["g"])
def stage_split_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, plane: tl.int64, g,
    IMAGE_ROWS: tl.constexpr, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    SPLITS: tl.constexpr, Y_WIDTH: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For latency, run one split in images x row tiles x column tiles, columns fastest."""
    # not tl.cdiv: before Triton 3.7 its result is no constexpr, and the product of two fails
    COLUMNS: tl.constexpr = (C + BLOCK_N - 1) // BLOCK_N
    ROWS: tl.constexpr = (H * (W + 1) + BLOCK_M - 1) // BLOCK_M
    pid = tl.program_id(0)
    stage_tile(
        planes_ptr, w_ptr, b_ptr, y_ptr, plane, pid // (ROWS * COLUMNS), g,
        pid // COLUMNS % ROWS, pid % COLUMNS * BLOCK_N, IMAGE_ROWS, H, W, C, SPLITS,
        Y_WIDTH, K, K_PAD, N_PAD, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
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
    constants = {
        "IMAGE_ROWS": layout.image_rows, "H": layout.H, "W": layout.W, "C": layout.C,
        "SPLITS": planes.shape[0], "Y_WIDTH": y.shape[1],
        "K": layout.k, "K_PAD": w.shape[2], "N_PAD": w.shape[3],
        **tile.constants, "PRECISION": precision_of(planes),
    }  # fmt: skip
    args: Arguments = {"planes_ptr": planes, "w_ptr": w, "b_ptr": b, "y_ptr": y}
    args["plane"] = planes.stride(0)
    limits = tile.warps, tile.registers
    if chained:
        return (Call(stage_chained_kernel, layout.N, args, constants, *limits),)
    columns = -(-layout.C // tile.block_n)
    grid = layout.N * tile.row_tiles(layout.tile_rows) * columns
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
