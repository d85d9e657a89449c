from __future__ import annotations

import pytest

from r2n_kernels.kernels.layout import PlanesLayout, pad_channels
from r2n_kernels.kernels.tiles import TileConfig, pointwise_tile, stage_tile

LAYOUTS = [
    PlanesLayout(n, h, w, c, block_k)
    for n in (1, 3)
    for h, w in ((1, 1), (5, 9), (56, 56))
    for c in (8, 32, 104, 208)
    for block_k in (16, 32, 64)
]


@pytest.mark.parametrize("width", range(1, 40))
def test_channels_are_padded_to_eight(width):
    assert pad_channels(width) % 8 == 0
    assert 0 <= pad_channels(width) - width < 8


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_pixel_reads_another_images_pixels(layout):
    """Every element that a pixel's K_PAD-long lines touch lies in its own image or in a gap."""
    pixels = {}
    for n in range(layout.N):
        for h in range(layout.H):
            for w in range(layout.W):
                pixels[layout.row(n, h, w)] = (n, h, w)
    assert len(pixels) == layout.N * layout.H * layout.W
    reach = -(-layout.k_pad // layout.C)  # rows that a line of K_PAD elements touches
    for row, (n, h, w) in pixels.items():
        if (h, w) not in ((0, 0), (layout.H - 1, layout.W - 1), (0, layout.W - 1)):
            continue
        for line in range(3):
            first = row - layout.pitch - 1 + line * layout.pitch
            assert first >= 0
            assert first + reach <= layout.rows
            for tap in range(reach):
                other = pixels.get(first + tap)
                assert other is None or other[0] == n
                expected = (n, h + line - 1, w + tap - 1)
                if tap < 3:
                    inside = 0 <= expected[1] < layout.H and 0 <= expected[2] < layout.W
                    assert other == (expected if inside else None)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_last_pixel_of_an_image_reads_inside_its_image_and_the_buffer(layout):
    last = layout.row(layout.N - 1, layout.H - 1, layout.W - 1)
    end = (last - layout.pitch - 1 + 2 * layout.pitch) * layout.C + layout.k_pad
    assert end <= layout.rows * layout.C
    if layout.N > 1:  # the same pixel of the image before: no tap may reach the next one's pixels
        end -= layout.image_rows * layout.C
        assert end <= layout.row(layout.N - 1, 0, 0) * layout.C


def test_tiles_are_chosen_for_any_geometry():
    for channels in range(8, 512, 8):
        tile = stage_tile(channels)
        assert tile.block_n >= min(channels, 16)
        for n in (10, 64, 256, 2048):
            assert pointwise_tile(channels, n).block_k <= max(16, 2 * channels)
    with pytest.raises(ValueError, match="block_m must be a power of two from 16, got 24"):
        TileConfig(24, 16, 16, 4, 2)
