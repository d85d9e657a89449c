"""A tile says how a program multiplies; measured ones go before those chosen by `tile_rules`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .layout import pad_to

MIN_BLOCK = 16  # smallest side of a tensor-core tile in Triton
WIDEST = 256  # largest block_n
LIMITS = 32, 255  # registers a thread: fewer hold no tile; more no NVIDIA GPU has
PARTS = 3  # parts of a product's columns
LONGEST = 64  # largest block_k: weights are packed for no longer one
# Pipeline stages with which int8 takes two blocks of K an iteration. For sm_80 to 89 Triton reads
# the operands of a lone product ahead, and takes 8-bit ones apart: 10 PRMT for each IMMA.
PAIRED = 2


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


POOL_BAND = 8  # rows that a program pools: one more costs less than a tenth of their sums


def pool_programs(hc: int, wc: int, block_m: int) -> tuple[int, int]:
    """Return (bands, tiles along a row) of an image whose map, hc x wc, is halved.

    A tile is block_m columns of the map, of which the next one repeats the last two.
    """
    outputs = block_m // 2 - 1
    return -(-hc // (2 * POOL_BAND)), -(-wc // (2 * outputs))


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
