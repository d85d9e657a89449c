"""Plans of libraries: launches, bytes, and the implicit GEMMs of libraries, by hand."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.benchmarks.library_plan import (
    LIBRARIES,
    LIBRARY_TILES,
    PAIRED,
    PLAIN,
    library_plan,
)
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan
from r2n_kernels.plan.types import ConvGeometry

HEAD = VARIANTS[HEADLINE]
# m 392 = 3 * 128 + 8 rows of output, n 416, k 1024
POINTWISE = ConvGeometry(2, 14, 14, 1024, 416)
# m 392, and in each of 4 groups n 104, k 26 * 9 = 234
GROUPED = ConvGeometry(2, 28, 28, 104, 416, R=3, stride=2, groups=4)


def test_eager_launches_every_operator():
    plan = library_plan("eager", HEAD, 2, 224, 224, torch.float16)
    assert plan.launches == 637
    assert (plan.bytes_read + plan.bytes_written) / 2e6 == pytest.approx(294, abs=1)


def test_the_compiler_leaves_one_pointwise_kernel_a_convolution():
    plan = library_plan("compiled", HEAD, 2, 224, 224, torch.float16)
    assert plan.launches == 346
    assert (plan.bytes_read + plan.bytes_written) / 2e6 == pytest.approx(173, rel=0.05)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_all_multiply_the_same(config, library):
    plan = library_plan(library, config, 1, 65, 97, torch.float16)
    assert plan.macs == build_plan(config, 1, 65, 97).macs
    assert plan.executed_macs > plan.macs


def test_a_product_in_plain_tiles():
    macs, elements = PLAIN.product(POINTWISE)
    assert macs == (4 * 128) * (4 * 128) * 1024  # 4 tiles of 128 cover 392 rows, 4 cover 416
    assert elements == 4 * 392 * 1024 + 4 * 416 * 1024 + 392 * 416


def test_a_pair_loads_what_it_shares_once():
    macs, elements = PAIRED.product(POINTWISE)
    assert macs == (2 * 256) * (4 * 128) * 1024
    # two pairs of tiles beside each other load x, two rows of tiles load w
    assert elements == 2 * 392 * 1024 + 2 * 416 * 1024 + 392 * 416


def test_a_narrow_product_takes_a_narrow_tile():
    narrow = ConvGeometry(2, 14, 14, 1024, 26)
    macs, elements = PLAIN.product(narrow)
    assert macs == (4 * 128) * 32 * 1024
    assert elements == 392 * 1024 + 4 * 26 * 1024 + 392 * 26
    # with one column of tiles a pair lies one above the other and shares w
    assert PAIRED.product(narrow)[1] == 392 * 1024 + 1 * 26 * 1024 + 392 * 26


def test_a_grouped_convolution_is_a_product_a_group():
    macs, elements = PLAIN.product(GROUPED)
    assert macs == 4 * (4 * 128) * 128 * 256  # 104 columns take 128, k of 234 takes 256
    assert elements == 4 * (392 * 234 + 4 * 104 * 234) + 392 * 416


def test_steps_state_what_goes_through_l2():
    steps = {s.name: s for s in library_plan("compiled", HEAD, 2, 224, 224, torch.float16).steps}
    conv = steps["layer3.5.conv1.conv"]
    assert conv.convs == (POINTWISE,)
    assert (conv.executed_macs, conv.bytes_l2 / 2) == PLAIN.product(POINTWISE)
    beside = steps["layer3.5.conv1.pointwise"]
    assert beside.executed_macs == 0
    assert beside.bytes_l2 == beside.bytes_read + beside.bytes_written == 2 * 2 * 392 * 416


def test_the_plain_tile_comes_first():
    assert set(LIBRARY_TILES) <= {target.name for target in TARGETS.values()}
    assert all(tiles[0] is PLAIN for tiles in LIBRARY_TILES.values())
