"""Tiles of a plan's steps: the measured one where the table has the geometry, else the rule's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from ..errors import ConfigError
from ..kernels.forms import ResidentForm, choose_form
from ..kernels.layout import PlanesLayout
from ..kernels.targets import Target
from ..kernels.tile_rules import choose_conv_tile, choose_gemm_tile, choose_pool_tile
from ..kernels.tiles import POOL_BAND, TileConfig, TileTable, pool_programs, weight_columns
from .types import ConvGeometry

# Which of an op's last tiles may be smaller than the others, as TileConfig.area takes it
SMALLER = {
    "conv": {"whole": True}, "conv_pool": {"whole": True},
    "conv1": {"half": True}, "first_stage": {}, "stage": {"half": True},
    "conv3": {"whole": True, "half": True}, "conv3_project": {"whole": True, "half": True},
    "linear": {"whole": True},
}  # fmt: skip
MOST_REPEATED = 1.6  # of the stem's products, where they are pooled: 1.2 at 224 px, 1.6 at 256
IN_BLOCKS = ("conv1", "first_stage", "stage", "conv3")
POINTWISE = ("conv1", "conv3", "linear")


@dataclass(frozen=True)
class TileChoice:
    """A TileChoice gives the tiles and forms of one plan on one GPU.

    dtype, block_dtype: of what is multiplied, in blocks the latter. batch, as_batch: the images,
    and those by whose number all is chosen. chained: whether a stage is one launch.
    """

    target: Target
    table: TileTable
    dtype: torch.dtype
    block_dtype: torch.dtype
    batch: int
    as_batch: int
    chained: bool

    def tile(self, op: str, m: int, k: int, n: int, *, shortcut: bool = False) -> TileConfig:
        """Return the tile for [m, k] x [k, n]; m = 0 where a program walks a whole image.

        shortcut: whether another [m, n] is added.
        """
        return self._tuned(op, self.rule(op, m, k, n, shortcut=shortcut), m, k, n)

    def rule(self, op: str, m: int, k: int, n: int, *, shortcut: bool = False) -> TileConfig:
        m, itemsize = self._scaled(m), self._dtype_of(op).itemsize
        if op in POINTWISE:
            return choose_gemm_tile(m, n, k, itemsize, self.target, shortcut=shortcut)
        return choose_conv_tile(m, n, k, itemsize, self.target, walked=op == "first_stage")

    def pool(self, conv: ConvGeometry, line: int) -> TileConfig | None:
        """Return the tile of the stem's last convolution, if it is pooled where it is made.

        Small batches lack the programs for it, float32's product, of which it repeats some, is most
        of the time, and of some maps it repeats too much.
        """
        if not self.chained or self.dtype.itemsize != 2:
            return None
        rule = choose_pool_tile(conv.Co, line, self.dtype.itemsize, self.target)
        lines, across = pooled_lines(dataclasses.replace(conv, N=1), rule)
        if lines * across * rule.block_m > MOST_REPEATED * conv.Ho * conv.Wo:
            return None
        return self._tuned("conv_pool", rule, conv.N * conv.Ho * conv.Wo, line, conv.Co)

    def form(self, layout: PlanesLayout) -> tuple[ResidentForm | None, str]:
        """Return the form in which a block's splits stay in shared memory, if any, and why."""
        if not self.chained:
            return None, "tiled: one launch a split gives more programs than one an image"
        layout = dataclasses.replace(layout, N=self.as_batch)
        form, why = choose_form(layout, self.block_dtype.itemsize, self.target)
        return form, f"{'tiled' if form is None else 'resident'}: {why}"

    def _dtype_of(self, op: str) -> torch.dtype:
        return self.block_dtype if op in IN_BLOCKS else self.dtype

    def _scaled(self, m: int) -> int:
        """Return the pixels by which tiles are chosen, of m in this batch."""
        return m // max(self.batch, 1) * self.as_batch

    def _tuned(self, op: str, rule: TileConfig, m: int, k: int, n: int) -> TileConfig:
        key = self.table.key(op, self._dtype_of(op), m=self._scaled(m), k=k, n=n)
        tile = self.table.get(key, rule)
        if tile.block_n > weight_columns(n):
            raise ConfigError(f"tile table: '{key}' has block_n {tile.block_n}, too wide for {n}")
        if tile.registers and self.target.backend != "cuda":
            raise ConfigError(f"tile table: '{key}' limits registers, which AMD GPUs cannot")
        return tile


def pooled_lines(conv: ConvGeometry, tile: TileConfig) -> tuple[int, int]:
    """Return the lines of the map that are computed, some twice, and the tiles of a line."""
    bands, across = pool_programs(conv.Ho, conv.Wo, tile.block_m)
    return conv.N * bands * (2 * POOL_BAND + 1), across
