"""Tile shapes are chosen by rule for any geometry, or taken from a table that was measured.

Nothing is tuned at import or in serving. The rules come from ahead-of-time compilation on sm_80,
86, 89, 90, 100, 120 and gfx942: the tallest tiles without a spill.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .layout import pad_to
from .targets import Target

MIN_BLOCK = 16  # smallest side of a tensor-core tile in Triton
WIDEST = 256  # largest block_n
LIMITS = 32, 255  # registers a thread: fewer hold no tile; more no NVIDIA GPU has
PARTS = 3  # parts of a product's columns
LONGEST = 64  # largest block_k: weights are packed for no longer one


def power_of_two(value: int) -> int:
    """Return the least power of two that is not below value."""
    return 1 << max(0, value - 1).bit_length()


def weight_columns(n: int) -> int:
    """Return N_PAD: columns of a packed weight with n outputs, whole for tiles up to this wide."""
    return max(MIN_BLOCK, power_of_two(n)) if n <= WIDEST else pad_to(n, WIDEST)


def column_parts(columns: int, most: int) -> tuple[int, ...]:
    """Cover columns, a multiple of 8, by at most so many widths of powers of two, widest first."""
    while columns.bit_count() > most:
        columns += columns & -columns
    return tuple(1 << bit for bit in reversed(range(columns.bit_length())) if columns >> bit & 1)


@dataclass(frozen=True)
class TileConfig:
    """A GEMM tile multiplies [block_m, block_k] x [block_k, block_n] in so many warps and stages.

    registers: the most that a thread may use, so that more CTAs fit an SM, where the compiler
    would take more (NVIDIA alone); 0 for no limit. parts: the most products, each a power of two
    wide, that make up a last, narrower column tile; 0 where all are equally wide. extra: the most
    columns that the last but one takes over from it, beside its own: x is then loaded once less.
    """

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    registers: int = 0
    parts: int = 1
    extra: int = 0

    def __post_init__(self) -> None:
        for name in ("block_m", "block_n", "block_k"):
            value = getattr(self, name)
            if value < MIN_BLOCK or value & (value - 1):
                raise ValueError(f"{name} must be a power of two from {MIN_BLOCK}, got {value}")
        if self.block_k > LONGEST:
            raise ValueError(f"block_k must be at most {LONGEST}, got {self.block_k}")
        if self.warps not in (1, 2, 4, 8, 16):
            raise ValueError(f"warps must be 1, 2, 4, 8 or 16, got {self.warps}")
        if self.stages < 1:
            raise ValueError(f"stages must be at least 1, got {self.stages}")
        if not 0 <= self.parts <= PARTS:
            raise ValueError(f"parts must be 0 to {PARTS}, got {self.parts}")
        if self.extra < 0 or (self.extra and self.parts == PARTS):
            raise ValueError(f"extra must be 0 or more, and 0 with {PARTS} parts, got {self.extra}")
        least, most = LIMITS
        if self.registers and not least <= self.registers <= most:
            raise ValueError(
                f"registers must be 0, or {least} to {most} a thread, got {self.registers}"
            )

    @property
    def constants(self) -> dict[str, int]:
        """Return what every kernel with such a tile is told, by its parameters' names."""
        sides = {"BLOCK_M": self.block_m, "BLOCK_N": self.block_n, "BLOCK_K": self.block_k}
        return sides | {"STAGES": self.stages}

    def columns(self, n: int) -> tuple[int, int]:
        """Cover n columns by (full column tiles, columns of one last, narrower or wider tile or 0).

        The last one's are so many as `column_parts` covers, and a full tile's beside, for `extra`.
        """
        full, rest = divmod(n, self.block_n)
        if rest and not self.parts:
            return full + 1, 0
        tail = sum(column_parts(pad_to(rest, MIN_BLOCK), self.parts))
        if full and 0 < tail <= self.extra:
            return full - 1, self.block_n + tail
        return (full + 1, 0) if tail == self.block_n else (full, tail)

    def covered(self, n: int) -> int:
        """Count the columns that tiles multiply for n."""
        full, tail = self.columns(n)
        return full * self.block_n + tail

    def column_tiles(self, n: int) -> int:
        full, tail = self.columns(n)
        return full + (tail > 0)

    def row_tiles(self, m: int) -> int:
        return -(-m // self.block_m)

    @property
    def half(self) -> int:
        """Return the rows of a last row tile that is half as tall as the others; 0 for no such.

        Only short tiles have one, of which few cover a map, and in whole column tiles alone: with
        fewer products of 16 x 8 than warps, some would be made twice.
        """
        enough = self.block_n >= 8 * self.warps
        return MIN_BLOCK if self.block_m == 2 * MIN_BLOCK and enough else 0

    def area(self, m: int, n: int, *, whole: bool = False, half: bool = False) -> int:
        """Count the elements of the tiles that cover [m, n].

        whole: the last column tile is as wide as all, not as narrow as `columns` says. half: the
        last row tile is `half` as tall where that is enough.
        """
        full, tail = (-(-n // self.block_n), 0) if whole else self.columns(n)
        rows = pad_to(m, self.block_m)
        fewer = self.half if half and 0 < m % self.block_m <= self.half else 0
        return (rows - fewer) * full * self.block_n + rows * tail

    def macs(self, m: int, n: int, k: int, *, whole: bool = False, half: bool = False) -> int:
        """Count the multiply-accumulates of a GEMM [m, k] x [k, n], padding included."""
        return self.area(m, n, whole=whole, half=half) * pad_to(k, self.block_k)

    def shared_bytes(self, itemsize: int) -> int:
        """Return the shared memory of the main loop's pipeline."""
        return (self.block_m + self.block_n) * self.block_k * itemsize * self.stages


def fit(tile: TileConfig, itemsize: int, target: Target) -> TileConfig:
    """Take as many pipeline stages as shared memory holds; a shorter K where not even two fit."""
    while tile.shared_bytes(itemsize) > target.shared_bytes:
        if tile.stages > 2:
            tile = dataclasses.replace(tile, stages=tile.stages - 1)
        else:
            tile = dataclasses.replace(tile, block_k=tile.block_k // 2)
    return tile


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
# Pipeline stages with which int8 takes two blocks of K an iteration. For sm_80 to 89 Triton reads
# the operands of a lone product ahead, and takes 8-bit ones apart: 10 PRMT for each IMMA.
PAIRED = 2
MIN_BLOCK_K = {1: 32, 2: MIN_BLOCK, 4: MIN_BLOCK}  # what one matrix instruction takes


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


POOL_BAND = 8  # rows that a program pools: one more costs less than a tenth of their sums


def pool_programs(hc: int, wc: int, block_m: int) -> tuple[int, int]:
    """Return (bands, tiles along a row) of an image whose map, hc x wc, is halved.

    A tile is block_m columns of the map, of which the next one repeats the last two.
    """
    outputs = block_m // 2 - 1
    return -(-hc // (2 * POOL_BAND)), -(-wc // (2 * outputs))


def choose_pool_tile(channels: int, k: int, itemsize: int, target: Target) -> TileConfig:
    """Choose for a convolution that is pooled where it is made; k elements per kernel line.

    What it holds beside its sums lets few warps run on an SM: taller tiles leave one CTA of eight.
    """
    return _tile((64, 64, 4, 3), channels, conv_block_k(k), itemsize, target, 1)


@dataclass(frozen=True, eq=False)
class TileTable:
    """The measured tiles of one device, as `r2n tune` writes them, go before the rules.

    Keys of `tiles` as `key` makes them: "conv1 m=50176 k=1024 n=416 float16".
    """

    tiles: Mapping[str, TileConfig] = field(default_factory=dict)

    @staticmethod
    def key(op: str, dtype: torch.dtype, **geometry: int) -> str:
        sizes = (f"{name}={value}" for name, value in geometry.items())
        return " ".join([op, *sizes, str(dtype).removeprefix("torch.")])

    def get(self, key: str, rule: TileConfig) -> TileConfig:
        return self.tiles.get(key, rule)
