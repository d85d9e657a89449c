"""One launch convolves the splits of a stage's first block independently, and pools the last.

y[:, group g] = relu(conv3x3(planes[g], stride) + b_g)          # g < convolutions
y[:, last group] = avg_pool3x3(planes[last], stride)            # padding counts: always 9 taps
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import TABLE, add_bias, conv_tile, narrow, padded, precision_of, relu
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import at_least_one, shape, taps, three_by_three
from .tiles import TileConfig

POOL_N = 32  # columns pooled at a time: nine wide tiles at once would not fit the registers


@triton.jit
def mean_tile(x_ptrs, b_ptr, offs_n, LINE: tl.constexpr, C: tl.constexpr, N_PAD: tl.constexpr,
              BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """Average 3 x 3 taps in float32: [BLOCK_M, BLOCK_N]. Gaps hold zeros.

    Of int8, the ratio that the sum of the taps takes is a ninth.
    """
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for line in tl.static_range(3):
        for tap in tl.static_range(3):
            ptrs = x_ptrs[:, None] + (line * LINE + tap * C + offs_n)[None, :]
            total += tl.load(ptrs, mask=(offs_n < C)[None, :], other=0.0).to(tl.float32)
    if x_ptrs.dtype.element_ty == tl.int8:
        ratio = tl.load(b_ptr + 2 * N_PAD + offs_n, mask=offs_n < C, other=0.0)
        return total * ratio[None, :]
    return total / 9


@triton.jit
def first_stage_tile(
    taps, w_ptr, b_ptr, y_ptrs, inside, n0,
    PITCH: tl.constexpr, C: tl.constexpr, K: tl.constexpr, K_PAD: tl.constexpr,
    N_PAD: tl.constexpr, BLOCK_M: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Convolve one tile of one group: y_ptrs [BLOCK_M] are of the group's first column."""
    sums = conv_tile(
        taps, w_ptr, n0, 3, PITCH * C, K, K_PAD, N_PAD, BLOCK_M, COLUMNS, BLOCK_K, STAGES,
        PRECISION,
    )  # fmt: skip
    for i in tl.static_range(len(sums)):
        offs_n = n0 + tl.arange(0, sums[i].shape[1])
        mask = inside[:, None] & (offs_n < C)[None, :]
        out = add_bias(sums[i], b_ptr, offs_n, N_PAD, PRECISION)
        out = narrow(relu(out), y_ptrs, PRECISION)
        tl.store(y_ptrs[:, None] + offs_n[None, :], out, mask=mask)
        n0 += sums[i].shape[1]


@triton.jit(do_not_specialize=["M"])
def first_stage_kernel(
    planes_ptr, w_ptr, b_ptr, y_ptr, M, plane: tl.int64,
    IMAGE_ROWS: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, PITCH: tl.constexpr,
    STRIDE: tl.constexpr, C: tl.constexpr, CONVS: tl.constexpr, GROUPS: tl.constexpr,
    K: tl.constexpr, K_PAD: tl.constexpr, N_PAD: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    FULL: tl.constexpr, TAIL: tl.constexpr,
    POOL_N: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write y [M, GROUPS * C], M = N * HO * WO; row tiles x groups, groups fastest."""
    g, m = tl.program_id(0) % GROUPS, tl.program_id(0) // GROUPS
    offs_m = m * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = offs_m < M
    read = tl.minimum(offs_m, M - 1)  # rows beyond M read the last pixel again
    image, pixel = read // (HO * WO), read % (HO * WO)
    tap = (pixel // WO) * (STRIDE * PITCH) + (pixel % WO) * STRIDE
    row = image.to(tl.int64) * IMAGE_ROWS + tap  # [BLOCK_M] of the first tap
    taps = planes_ptr + tl.cast(g, tl.int64) * plane + row * C
    y_ptrs = y_ptr + offs_m.to(tl.int64) * (GROUPS * C) + g * C
    if g < CONVS:
        w_ptr += g * (3 * K_PAD * N_PAD)
        ROWS: tl.constexpr = TABLE if w_ptr.dtype.element_ty == tl.int8 else 1
        b_ptr += g * (ROWS * N_PAD)
        for tile in tl.range(0, FULL + (TAIL > 0), num_stages=1):
            # not `and`: up to Triton 3.3 it is no constant, so that both would be compiled
            if (tile == FULL) if TAIL > 0 else False:
                first_stage_tile(
                    taps, w_ptr, b_ptr, y_ptrs, inside, FULL * BLOCK_N,
                    PITCH, C, K, K_PAD, N_PAD, BLOCK_M, TAIL, BLOCK_K, STAGES, PRECISION,
                )  # fmt: skip
            else:
                first_stage_tile(
                    taps, w_ptr, b_ptr, y_ptrs, inside, tile * BLOCK_N,
                    PITCH, C, K, K_PAD, N_PAD, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, PRECISION,
                )  # fmt: skip
    else:
        for n0 in tl.range(0, C, POOL_N, num_stages=1):
            offs_n = n0 + tl.arange(0, POOL_N)
            mask = inside[:, None] & (offs_n < C)[None, :]
            out = mean_tile(taps, b_ptr, offs_n, PITCH * C, C, N_PAD, BLOCK_M, POOL_N)
            tl.store(y_ptrs[:, None] + offs_n[None, :], narrow(out, y_ptr, PRECISION), mask=mask)


def first_stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, stride: int,
    tile: TileConfig,
) -> Calls:  # fmt: skip
    """Write y [N * Ho * Wo, groups * C] of planes [groups, rows, C]; Ho = ceil(H / stride).

    w [convolutions, 3, K_PAD, N_PAD] in the planes' dtype and b [convolutions, N_PAD] in float32,
    zero-filled; groups = convolutions + 1, or 1 where there is one convolution and no split.
    """
    full, tail = tile.columns(layout.C)
    k_pad, n_pad = padded(w)
    constants = {
        "IMAGE_ROWS": layout.image_rows, "HO": -(-layout.H // stride), "WO": -(-layout.W // stride),
        "PITCH": layout.pitch, "STRIDE": stride, "C": layout.C,
        "CONVS": w.shape[0], "GROUPS": planes.shape[0],
        "K": layout.k, "K_PAD": k_pad, "N_PAD": n_pad, **tile.constants,
        "FULL": full, "TAIL": tail, "POOL_N": POOL_N, "PRECISION": precision_of(planes),
    }  # fmt: skip
    args: Arguments = {"planes_ptr": planes, "w_ptr": w, "b_ptr": b, "y_ptr": y}
    args |= {"M": y.shape[0], "plane": planes.stride(0)}
    grid = tile.row_tiles(y.shape[0]) * planes.shape[0]
    return (Call(first_stage_kernel, grid, args, constants, tile.warps, tile.registers),)


def contract(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, stride: int,
    tile: TileConfig,
) -> Faults:  # fmt: skip
    yield from three_by_three(layout)
    yield from at_least_one("stride", stride)
    yield from shape("planes", planes, None, layout.rows, layout.C)
    groups = planes.shape[0]
    rows = layout.N * -(-layout.H // stride) * -(-layout.W // stride)
    yield from shape("y", y, rows, groups * layout.C)
    yield from taps(w, b, max(1, groups - 1), layout, layout.C, tile)


OP = Op(first_stage, contract, reads=("planes",), writes=("y",), kernel_options=("tile",))
