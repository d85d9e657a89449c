from __future__ import annotations

import dataclasses
from math import inf

from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.tiles import TileConfig
from r2n_kernels.proof.search import climb, neighbours

H100 = TARGETS["sm_90"]
RULE = TileConfig(128, 128, 32, 8, 3)


def test_neighbours_differ_in_one_axis():
    found = neighbours(RULE, 416, 2, H100)
    assert len(set(found)) == len(found)
    for tile in found:
        changed = [
            field.name
            for field in dataclasses.fields(tile)
            if getattr(tile, field.name) != getattr(RULE, field.name)
        ]
        assert len(changed) == 1, tile
    assert TileConfig(256, 128, 32, 8, 3) in found
    assert TileConfig(128, 128, 64, 8, 3) in found
    assert TileConfig(128, 128, 32, 8, 2) in found
    assert TileConfig(128, 128, 32, 4, 3) in found
    assert TileConfig(128, 128, 32, 8, 3, registers=128) in found


def test_register_limits_come_and_go_and_are_nvidia_s_alone():
    limited = dataclasses.replace(RULE, registers=128)
    assert RULE in neighbours(limited, 416, 2, H100)
    found = neighbours(TileConfig(64, 64, 32, 8, 2), 416, 2, TARGETS["gfx942"])
    assert found
    assert not any(tile.registers for tile in found)


def test_neighbours_stay_in_what_kernels_and_gpu_can():
    assert all(tile.block_n <= 32 for tile in neighbours(TileConfig(64, 32, 32, 4, 3), 26, 2, H100))
    longest = dataclasses.replace(RULE, block_k=64)  # weights are packed in rows of 64
    assert all(tile.block_k <= 64 for tile in neighbours(longest, 416, 2, H100))
    small = TileConfig(16, 16, 16, 2, 1)
    assert all(min(t.block_m, t.block_n, t.block_k) >= 16 for t in neighbours(small, 9, 2, H100))
    assert all(tile.stages >= 1 and tile.warps >= 2 for tile in neighbours(small, 9, 2, H100))
    rtx = TARGETS["sm_86"]  # 99 KiB: 4 stages of 128 x 128 x 64 need 128
    tall = TileConfig(128, 128, 64, 8, 3)
    assert all(tile.shared_bytes(2) <= rtx.shared_bytes for tile in neighbours(tall, 416, 2, rtx))
    wide = TileConfig(256, 128, 32, 8, 3)  # 128 sums a thread
    assert all(tile.block_m * tile.block_n <= 2**15 for tile in neighbours(wide, 416, 2, H100))


def line(tile: TileConfig) -> list[TileConfig]:
    """Neighbours in stages only."""
    return [
        dataclasses.replace(tile, stages=stages)
        for stages in (tile.stages - 1, tile.stages + 1)
        if 1 <= stages <= 6
    ]


def climb_with(costs: dict[int, float], gain: float = 0.02):
    best, seen = climb(RULE, lambda tile: costs[tile.stages], line, gain)
    return best.stages, sorted(tile.stages for tile in seen)


def test_climbs_until_no_neighbour_is_better():
    assert climb_with({2: 1.1, 3: 1.0, 4: 0.9, 5: 0.8, 6: 0.9}) == (5, [2, 3, 4, 5, 6])


def test_asks_each_tile_once():
    asked = []
    climb(RULE, lambda tile: asked.append(tile) or 10.0 - tile.stages, line, 0.02)
    assert len(asked) == len(set(asked)) == 5


def test_a_small_gain_is_none():
    assert climb_with({2: 1.0, 3: 1.0, 4: 0.985}) == (3, [2, 3, 4])
    assert climb_with({2: 1.0, 3: 1.0, 4: 0.985, 5: 0.99}, gain=0.01) == (4, [2, 3, 4, 5])


def test_a_tile_that_cannot_be_used_is_never_chosen():
    assert climb_with({2: inf, 3: 1.0, 4: inf}) == (3, [2, 3, 4])
    assert climb_with({2: inf, 3: inf, 4: inf}) == (3, [2, 3, 4])
    assert climb_with({1: 1.0, 2: 1.0, 3: inf, 4: inf})[0] == 2  # where the rule's own cannot
