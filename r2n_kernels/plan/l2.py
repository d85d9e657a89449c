"""What SMs load and store, of operands as often as tiles load them: bytes through L2."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ..kernels.layout import TABLE_ROWS
from .triton_tiles import SMALLER, pooled_lines
from .types import Buffer, Step


def bytes_l2(step: Step, buffers: Mapping[str, Buffer], scale: int) -> int:
    """Count what tiles load: their rows of x and columns of w, for each K that they multiply.

    Rows beyond the last are not loaded: all lanes read the last one again. scale: a block's splits.
    """
    itemsize = buffers[step.reads[0]].itemsize
    if "form" in step.options:
        return step.options["form"].bytes_l2(step.options["layout"], len(step.convs), itemsize)
    tile = step.options.get("tile")
    if tile is None:  # pools: a window's pixels come from L1 but for the first time
        return step.bytes_read + step.bytes_written
    conv = step.convs[0]
    images, m, n = 1, conv.N * conv.Ho * conv.Wo, conv.Co
    if step.op in ("conv1", "first_stage", "stage"):
        n = step.options["layout"].C * (scale if step.op == "conv1" else 1)
    if step.op == "stage":  # whose tiles are an image's
        images, m = conv.N, step.options["layout"].pixels
    rows = m  # of x; those beyond the last are not loaded
    if step.op == "conv_pool":  # whose tiles are a line's, and share two columns
        images, across = pooled_lines(conv, tile)
        m, rows = across * tile.block_m, conv.Wo + 2 * (across - 1)
    smaller = SMALLER[step.op]
    k = step.executed_macs // max(1, images * tile.area(m, n, **smaller))  # 1: an empty batch
    columns = tile.area(tile.block_m, n, **smaller) // tile.block_m
    whole = smaller.get("whole", False)
    across = -(-n // tile.block_n) if whole else tile.column_tiles(n)
    x, w = images * rows * across * k, images * tile.row_tiles(m) * columns * k
    beside = 0
    if step.op == "conv3":
        beside = prod(buffers[step.reads[1]].shape)  # the shortcut
    elif step.op == "first_stage":
        beside = 9 * prod(buffers[step.writes[0]].shape) // scale  # the pooled split
    # float32, a column; biases alone are little beside w
    table = w // max(1, k) * 4 * TABLE_ROWS if itemsize == 1 else 0
    moved = (x + w + beside) * itemsize + table
    return moved + step.bytes_written + 2 * step.bytes_scratch  # read and written
