"""Rules choose a tile for any geometry: nothing is tuned at import or in serving.

They come from compiling for sm_80, 86, 89, 90, 100, 120 and gfx942: the tallest without a spill.
"""

from __future__ import annotations

import dataclasses

from .layout import pad_to
from .targets import Target
from .tiles import MIN_BLOCK, PAIRED, PARTS, TileConfig, weight_columns

# [BLOCK_M, BLOCK_N, warps, stages], tallest first; a small batch takes a later one
GEMM_SHAPES = ((128, 128, 8, 3), (128, 64, 4, 3), (64, 64, 4, 4), (32, 32, 4, 4))
FLAT = (16, 32, 4, 4)  # of a few rows, as a classifier has
CONV_SHAPES = {  # by stored channels up to
    32: ((128, 32, 4, 4), (64, 32, 4, 4), (32, 32, 4, 4)),
    64: ((128, 64, 8, 3), (64, 64, 4, 4), (32, 64, 4, 4), (32, 32, 4, 4)),
    128: ((128, 128, 8, 3), (64, 64, 4, 4), (32, 64, 4, 4), (32, 32, 4, 4)),
    256: ((64, 128, 8, 3), (64, 64, 4, 4), (32, 64, 4, 4), (32, 32, 4, 4)),
}
# IEEE float32 products run on FMA units, where operands and sums share the registers
FLOAT32_SHAPES = ((64, 64, 4, 2), (32, 32, 4, 2))
FLOAT32_CONV_SHAPES = ((64, 64, 8, 2), (32, 32, 4, 2))  # with 4 warps it spills on sm_80 and 120
# Before them, for large batches: it brings a quarter less through L2 than 128x128. An SM holds one
# such CTA, so it is taken from two per SM on. That it is faster is predicted, not yet measured.
TALL = (256, 128, 8)  # [BLOCK_M, BLOCK_N, warps]
TALL_PER_SM = 2
EXTRA = 32  # columns that such a tile takes beside its own without a spill, on sm_90 alone
MAX_BLOCK_K = {1: 64, 2: 64, 4: 32}  # by bytes of an element
MIN_BLOCK_K = {1: 32, 2: MIN_BLOCK, 4: MIN_BLOCK}  # what one matrix instruction takes


def fit(tile: TileConfig, itemsize: int, target: Target) -> TileConfig:
    """Take as many pipeline stages as shared memory holds; a shorter K where not even two fit."""
    while tile.shared_bytes(itemsize) > target.shared_bytes:
        if tile.stages > 2:
            tile = dataclasses.replace(tile, stages=tile.stages - 1)
        else:
            tile = dataclasses.replace(tile, block_k=tile.block_k // 2)
    return tile


def tall_stages(target: Target, itemsize: int, *, shortcut: bool) -> int:
    """Return the pipeline stages with which TALL tiles do not spill; 0 where none do.

    shortcut: whether another tile is added behind the loop. Compiled with Triton 3.8: on sm_100
    the sums then leave tensor memory for registers that hold no more; on sm_120 a third stage
    spills. Beside sums of int8, which become floats, no shortcut fits.
    """
    if not target.capability or (shortcut and (itemsize == 1 or 100 <= target.capability < 120)):
        return 0
    return 2 if itemsize == 2 and target.capability >= 120 else 3


def gemm_parts(target: Target, itemsize: int) -> int:
    """Return the parts of a last column tile that do not spill: two with wgmma or tcgen05 alone."""
    return 2 if itemsize < 4 and target.async_products else 1


def conv_parts(target: Target, itemsize: int) -> int:
    """Return the parts that do not spill: none in float32, one on sm_100, where chains would."""
    if itemsize == 4:
        return 0
    if itemsize == 1 and target.capability >= 120:
        return 2
    return 1 if 100 <= target.capability < 120 else PARTS


def choose_gemm_tile(
    m: int, n: int, k: int, itemsize: int, target: Target, *, shortcut: bool = False
) -> TileConfig:
    """Choose for [m, k] x [k, n] the largest tile that still gives every SM a program.

    shortcut: whether [m, n] of a shortcut is added to the product.
    """
    shapes: tuple[tuple[int, ...], ...] = FLOAT32_SHAPES if itemsize == 4 else GEMM_SHAPES
    if m <= MIN_BLOCK < n and itemsize < 4:  # with 16 columns, warps would repeat each other
        shapes = (FLAT,)
    block_k = 64 if k % 64 == 0 else 32 if k > 16 else MIN_BLOCK  # 64 only where it wastes nothing
    stages, parts = tall_stages(target, itemsize, shortcut=shortcut), gemm_parts(target, itemsize)
    if stages and itemsize < 4:
        tall = _tile((*TALL, stages), n, block_k, itemsize, target, parts)
        if target.wgmma and tall.columns(n)[1] in range(1, EXTRA + 1):
            tall = dataclasses.replace(tall, extra=EXTRA)
        tiles = tall.row_tiles(m) * tall.column_tiles(n)
        if tall.block_n == TALL[1] and tiles >= TALL_PER_SM * target.sms:
            return tall
    return _first_that_fills(shapes, block_k, m, n, itemsize, target, parts)


def choose_conv_tile(
    m: int, channels: int, k: int, itemsize: int, target: Target, *, walked: bool = False
) -> TileConfig:
    """Choose for m output pixels, `channels` output channels and k elements per kernel line.

    m = 0: a program walks a whole image, so the tallest tile is best whatever the batch. walked: a
    program walks all columns, so that narrow tiles do not make more of them.
    """
    upper = next((width for width in CONV_SHAPES if channels <= width), max(CONV_SHAPES))
    shapes = FLOAT32_CONV_SHAPES if itemsize == 4 else CONV_SHAPES[upper]
    if walked and itemsize < 4 and channels > 128:  # with fewer, wide short tiles spill
        shapes = shapes[:-1]
    block_k = conv_block_k(k)
    if itemsize == 1 and pad_to(k, 64) == pad_to(k, block_k):  # 32 bytes are too often two sectors
        block_k = 64
    parts = conv_parts(target, itemsize)
    if not m:
        tile = _tile(shapes[0], channels, block_k, itemsize, target, parts)
        # left to itself, the compiler saves registers for a third CTA there, and spills
        limited = itemsize == 4 and channels <= 32 and target.capability >= 120
        return dataclasses.replace(tile, registers=128) if limited else tile
    return _first_that_fills(shapes, block_k, m, channels, itemsize, target, parts)


def choose_pool_tile(channels: int, k: int, itemsize: int, target: Target) -> TileConfig:
    """Choose for a convolution that is pooled where it is made; k elements per kernel line.

    What it holds beside its sums lets few warps run on an SM: taller tiles leave one CTA of eight.
    """
    return _tile((64, 64, 4, 3), channels, conv_block_k(k), itemsize, target, 1)


def conv_block_k(k: int) -> int:
    """Choose for k elements per kernel line."""
    return 64 if k > 256 else 32 if k > 16 else MIN_BLOCK


def _first_that_fills(
    shapes: tuple[tuple[int, ...], ...], block_k: int, m: int, n: int, itemsize: int,
    target: Target, parts: int,
) -> TileConfig:  # fmt: skip
    for shape in shapes:
        tile = _tile(shape, n, block_k, itemsize, target, parts)
        if tile.row_tiles(m) * tile.column_tiles(n) >= target.sms:
            break
    return tile


def _tile(
    shape: tuple[int, ...], n: int, block_k: int, itemsize: int, target: Target, parts: int
) -> TileConfig:
    block_m, block_n, warps, stages = shape
    block_n = min(block_n, weight_columns(n))
    block_k = max(MIN_BLOCK_K[itemsize], min(block_k, MAX_BLOCK_K[itemsize]))
    sides = block_m, block_n, block_k
    # products side by side put all warps along M
    if not target.async_products and block_m < MIN_BLOCK * warps:
        parts = min(1, parts)
    tiles = (
        TileConfig(*sides, warps, stages, parts=few) for few in range(min(1, parts), parts + 1)
    )
    tile = min(tiles, key=lambda tile: tile.covered(n))  # the first, of those that cover as few
    if itemsize == 1 and 80 <= target.capability < 90 and _pairs(tile, n):
        tile = dataclasses.replace(tile, stages=PAIRED)
    return fit(tile, itemsize, target)


def _pairs(tile: TileConfig, n: int) -> bool:
    """Return whether `PAIRED` pays: products stand alone, and suffice for all warps.

    Warps of more than one product an iteration stand along the longer side of a tile.
    """
    full, tail = tile.columns(n)
    for width in (*[tile.block_n] * (full > 0), *[tail] * (tail > 0)):
        tall = tile.block_m >= width
        if (tile.block_m // MIN_BLOCK if tall else width // 8) < tile.warps:
            return False
    return full > 0 or tail.bit_count() == 1
