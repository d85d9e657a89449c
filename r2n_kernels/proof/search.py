"""A search climbs from a tile to its best neighbour until none is better by enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from math import inf

from ..kernels.targets import Target
from ..kernels.tile_rules import MAX_BLOCK_K
from ..kernels.tiles import MIN_BLOCK, WIDEST, TileConfig, weight_columns

MAX_BLOCK_M = 256
WARPS = (2, 4, 8)
MAX_STAGES = 6
# float32 sums that a thread keeps in registers, of which it has 255: 128 spill on some targets,
# and then lose by the clock; more spill on all
MAX_SUMS = 128
# register limits worth trying: none, and two CTAs of 8 warps on an SM's 65,536 registers
REGISTERS = (0, 128)


def neighbours(tile: TileConfig, n: int, itemsize: int, target: Target) -> list[TileConfig]:
    """Return the tiles one step away along an axis that a GEMM of n columns can have there."""
    changes = [
        {name: size}
        for name in ("block_m", "block_n", "block_k", "warps")
        for size in (getattr(tile, name) // 2, getattr(tile, name) * 2)
    ]
    changes += [{"stages": tile.stages - 1}, {"stages": tile.stages + 1}]
    if target.backend == "cuda":
        changes += [{"registers": limit} for limit in REGISTERS if limit != tile.registers]
    limits = {
        "block_m": (MIN_BLOCK, MAX_BLOCK_M),
        "block_n": (MIN_BLOCK, min(WIDEST, weight_columns(n))),
        "block_k": (MIN_BLOCK, max(MAX_BLOCK_K.values())),
        "warps": (WARPS[0], WARPS[-1]),
        "stages": (1, MAX_STAGES),
        "registers": (min(REGISTERS), max(REGISTERS)),
    }
    near = [
        dataclasses.replace(tile, **change)
        for change in changes
        for name, value in change.items()
        if limits[name][0] <= value <= limits[name][1]
    ]
    return [option for option in near if _possible(option, itemsize, target)]


def _possible(tile: TileConfig, itemsize: int, target: Target) -> bool:
    sums = tile.block_m * tile.block_n / (tile.warps * target.warp_size)
    return sums <= MAX_SUMS and tile.shared_bytes(itemsize) <= target.shared_bytes


def climb(
    rule: TileConfig,
    cost: Callable[[TileConfig], float],
    near: Callable[[TileConfig], Iterable[TileConfig]],
    gain: float,
) -> tuple[TileConfig, dict[TileConfig, float]]:
    """Return the tile where no neighbour is cheaper by the share `gain`, and all costs asked for.

    cost: inf for a tile that cannot be used.
    """
    best, costs = rule, {rule: cost(rule)}
    while True:
        for tile in near(best):
            if tile not in costs:
                costs[tile] = cost(tile)
        cheapest = min(costs, key=costs.__getitem__)
        if costs[cheapest] == inf or costs[cheapest] > costs[best] * (1 - gain):
            return best, costs
        best = cheapest
