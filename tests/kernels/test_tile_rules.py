from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2n_kernels.kernels.targets import INTERPRETER, TARGETS
from r2n_kernels.kernels.tile_rules import choose_conv_tile, choose_gemm_tile, fit
from r2n_kernels.kernels.tiles import TileConfig, weight_columns

powers = st.sampled_from([16, 32, 64, 128, 256])
tiles = st.builds(
    TileConfig, powers, powers, st.sampled_from([16, 32, 64]), st.just(4), st.integers(1, 8),
    parts=st.integers(0, 3),
)  # fmt: skip
targets = st.sampled_from([*TARGETS.values(), INTERPRETER])


@given(tile=tiles, target=targets, itemsize=st.sampled_from([2, 4]))
def test_fit_gives_up_stages_first_and_only_what_it_must(tile, target, itemsize):
    fitted = fit(tile, itemsize, target)
    assert fitted.shared_bytes(itemsize) <= target.shared_bytes
    assert (fitted.block_m, fitted.block_n, fitted.warps) == (tile.block_m, tile.block_n, 4)
    if tile.shared_bytes(itemsize) <= target.shared_bytes:
        assert fitted == tile
    if fitted.block_k < tile.block_k:
        assert fitted.stages <= 2


@given(
    m=st.integers(0, 10**7), n=st.integers(1, 4096), k=st.integers(1, 8192),
    itemsize=st.sampled_from([2, 4]), target=targets,
)  # fmt: skip
def test_rules_suit_every_geometry(m, n, k, itemsize, target):
    for tile in (
        choose_gemm_tile(max(m, 1), n, k, itemsize, target),
        choose_conv_tile(m, n, k, itemsize, target),
    ):
        assert tile.shared_bytes(itemsize) <= target.shared_bytes
        assert tile.block_n <= weight_columns(n)
        assert tile.block_k <= 64  # what weights are packed for


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_small_batch_takes_smaller_tiles(target):
    one, many = (choose_gemm_tile(m, 416, 1024, 2, target) for m in (196, 256 * 196))
    assert (one.block_m, one.block_n) < (many.block_m, many.block_n)
    assert many.row_tiles(256 * 196) * many.column_tiles(416) >= target.sms


@pytest.mark.parametrize(
    ("target", "shortcut", "stages"),
    [("sm_80", True, 3), ("sm_89", True, 2), ("sm_90", True, 3), ("sm_100", False, 3),
     ("sm_100", True, 0), ("sm_120", True, 2), ("gfx942", False, 0)],
)  # fmt: skip
def test_a_large_batch_takes_tall_tiles_where_they_do_not_spill(target, shortcut, stages):
    tile = choose_gemm_tile(256 * 196, 1024, 448, 2, TARGETS[target], shortcut=shortcut)
    if stages:
        assert tile == TileConfig(256, 128, 64, 8, stages)
    else:
        assert tile.block_m == 128


def test_a_narrow_tail_joins_the_last_tall_tile_on_sm_90():
    """416 = 3 x 128 + 32: x is loaded three times, not four."""
    tiles = {name: choose_gemm_tile(256 * 196, 416, 1024, 2, TARGETS[name]) for name in TARGETS}
    assert {name for name, tile in tiles.items() if tile.extra} == {"sm_90"}
    wide = tiles["sm_90"]
    assert (wide.columns(416), wide.column_tiles(416)) == ((2, 160), 3)
    assert wide.macs(256, 416, 64) == tiles["sm_80"].macs(256, 416, 64)
    assert dataclasses.replace(wide, extra=0).columns(416) == (3, 32)
    assert wide.columns(32) == (0, 32)  # no tile to join
    assert wide.columns(128 + 64) == (1, 64)  # too wide a tail


def test_tall_tiles_need_two_tiles_an_sm_wide_products_and_half_precision():
    h100 = TARGETS["sm_90"]  # 132 SMs
    assert choose_gemm_tile(264 * 256, 128, 64, 2, h100).block_m == 256
    assert choose_gemm_tile(263 * 256, 128, 64, 2, h100).block_m == 128
    assert choose_gemm_tile(10**6, 64, 64, 2, h100).block_m == 128
    assert choose_gemm_tile(10**6, 128, 64, 4, h100).block_m == 64


def test_a_few_rows_take_flat_tiles():
    h100 = TARGETS["sm_90"]
    assert choose_gemm_tile(16, 1000, 2048, 2, h100) == TileConfig(16, 32, 64, 4, 4)
    assert choose_gemm_tile(17, 1000, 2048, 2, h100).block_m == 32
    assert choose_gemm_tile(1, 1000, 2048, 4, h100).block_m == 32


def test_a_program_that_walks_an_image_takes_the_tallest_tile():
    for channels in (16, 32, 56, 104, 208):
        tallest = choose_conv_tile(0, channels, 3 * channels, 2, TARGETS["sm_90"])
        for m in (49, 10**7):
            assert (
                tallest.block_m
                >= choose_conv_tile(m, channels, 3 * channels, 2, TARGETS["sm_90"]).block_m
            )
