from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from r2n_kernels.kernels.layout import pad_to
from r2n_kernels.kernels.tiles import MIN_BLOCK, TileConfig, TileTable, weight_columns

GOOD = {"block_m": 64, "block_n": 32, "block_k": 16, "warps": 4, "stages": 3}
powers = st.sampled_from([16, 32, 64, 128, 256])
tiles = st.builds(
    TileConfig,
    powers,
    powers,
    st.sampled_from([16, 32, 64]),
    st.just(4),
    st.integers(1, 8),
    parts=st.integers(0, 3),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_m": 24}, "block_m must be a power of two from 16, got 24"),
        ({"block_n": 8}, "block_n must be a power of two from 16, got 8"),
        ({"block_k": 0}, "block_k must be a power of two from 16, got 0"),
        ({"block_k": -16}, "block_k must be a power of two from 16, got -16"),
        ({"block_k": 128}, "block_k must be at most 64, got 128"),
        ({"warps": 3}, "warps must be 1, 2, 4, 8 or 16, got 3"),
        ({"stages": 0}, "stages must be at least 1, got 0"),
        ({"registers": 31}, "registers must be 0, or 32 to 255 a thread, got 31"),
        ({"registers": 256}, "registers must be 0, or 32 to 255 a thread, got 256"),
        ({"registers": -1}, "registers must be 0, or 32 to 255 a thread, got -1"),
        ({"parts": -1}, "parts must be 0 to 3, got -1"),
        ({"parts": 4}, "parts must be 0 to 3, got 4"),
    ],
)
def test_a_tile_that_no_kernel_can_have_is_refused(change, message):
    assert TileConfig(**GOOD).warps == 4
    with pytest.raises(ValueError, match=message):
        TileConfig(**{**GOOD, **change})


@given(tile=tiles, n=st.integers(1, 3000))
def test_columns_cover_every_column_and_no_tile_more(tile, n):
    full, tail = tile.columns(n)
    covered, rest = tile.covered(n), n - full * tile.block_n
    assert covered == full * tile.block_n + tail
    assert n <= covered
    assert covered - n < (max(MIN_BLOCK, n - full * tile.block_n) if tail else tile.block_n)
    assert tail % MIN_BLOCK == 0
    assert tail == 0 or (tail < tile.block_n and tail.bit_count() <= tile.parts)
    narrower = range(pad_to(max(rest, 0), MIN_BLOCK), tail, MIN_BLOCK)
    assert all(width.bit_count() > tile.parts for width in narrower)
    assert tile.column_tiles(n) == full + bool(tail)
    if tile.block_n <= weight_columns(n):
        assert covered <= weight_columns(n), "a tile would read beyond the packed weight"
        assert -(-n // tile.block_n) * tile.block_n <= weight_columns(n)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(416, (3, 32)), (128, (1, 0)), (120, (1, 0)), (8, (0, 16)), (208, (1, 80)), (104, (0, 112))],
)
def test_columns_of_known_widths(n, expected):
    assert TileConfig(128, 128, 64, 8, 3, parts=3).columns(n) == expected


@pytest.mark.parametrize(("parts", "expected"), [(0, (1, 0)), (2, (1, 0)), (3, (0, 112))])
def test_parts_limit_what_covers_104_columns(parts, expected):
    assert TileConfig(128, 128, 64, 8, 3, parts=parts).columns(104) == expected


@given(m=st.integers(0, 10**6), n=st.integers(1, 2048), k=st.integers(1, 4608), tile=tiles)
def test_macs_are_whole_tiles_and_never_fewer_than_asked(m, n, k, tile):
    macs = tile.macs(m, n, k)
    assert macs >= m * n * k
    assert macs % (tile.block_m * MIN_BLOCK * tile.block_k) == 0
    assert macs <= tile.macs(m, n, k, whole=True)
    assert macs - tile.macs(m, n, k, half=True) in (
        0, tile.half * tile.columns(n)[0] * tile.block_n * pad_to(k, tile.block_k)
    )  # fmt: skip
    assert m * n * k <= tile.macs(m, n, k, half=True)
    assert tile.macs(tile.block_m, tile.block_n, tile.block_k) == (
        tile.block_m * tile.block_n * tile.block_k
    )


@pytest.mark.parametrize(
    ("tile", "m", "rows"),
    [
        (TileConfig(32, 32, 64, 4, 4), 196, 208),  # 6 x 32 and 16
        (TileConfig(32, 32, 64, 4, 4), 210, 224),  # 17 rows are left: more than half
        (TileConfig(32, 32, 64, 4, 4), 192, 192),
        (TileConfig(32, 16, 64, 4, 4), 196, 224),  # two products cannot keep four warps busy
        (TileConfig(64, 32, 64, 4, 4), 196, 256),  # not short
    ],
)
def test_the_last_row_tile_may_be_half_as_tall(tile, m, rows):
    assert tile.area(m, 32, half=True) == rows * 32
    narrower = tile.area(m, 48, half=True) - tile.area(m, 32, half=True)  # the last column tile
    assert narrower == (rows if tile.block_n == 16 else pad_to(m, tile.block_m)) * 16


def test_a_table_falls_back_on_the_rule():
    tile, rule = TileConfig(64, 32, 16, 2, 2), TileConfig(**GOOD)
    key = TileTable.key("conv1", torch.float16, m=392, k=1024, n=416)
    assert key == "conv1 m=392 k=1024 n=416 float16"
    assert TileTable({key: tile}).get(key, rule) == tile
    assert TileTable({key: tile}).get(key.replace("392", "196"), rule) == rule
    assert TileTable().get(key, rule) == rule
