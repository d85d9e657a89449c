from __future__ import annotations

from itertools import product

import pytest

from r2n_kernels.kernels.layout import PlanesLayout, pad_channels, pad_image_channels

# the splits' planes, and those of 3x3 and 7x7 stems with 4 and 8 stored channels
LAYOUTS = [
    PlanesLayout(n, h, w, c, block_k, r)
    for n, (h, w), (c, r), block_k in product(
        (1, 3),
        ((1, 1), (5, 9), (1, 8), (28, 28)),
        ((8, 3), (32, 3), (104, 3), (208, 3), (4, 3), (4, 7), (8, 7)),
        (16, 32, 64),
    )
]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=str)


@pytest.mark.parametrize("width", range(1, 40))
def test_channels_are_padded_to_eight(width):
    assert pad_channels(width) % 8 == 0
    assert 0 <= pad_channels(width) - width < 8


@pytest.mark.parametrize(("channels", "stored"), [(1, 4), (3, 4), (4, 4), (5, 8), (12, 16)])
def test_images_keep_four_channels_or_multiples_of_eight(channels, stored):
    assert pad_image_channels(channels) == stored


def first_tap(layout: PlanesLayout, h: int, w: int, line: int, n: int) -> int:
    """The row at which a kernel reads a kernel line of the output pixel (h, w)."""
    return n * layout.image_rows + (h + line) * layout.pitch + w


@layouts
def test_taps_read_their_neighbours_and_no_other_image(layout):
    """Every element that a pixel's padded lines touch is its neighbour, its own image's or a gap.

    Taps are pixels inside the image and zeros outside; beyond them lie no other image's pixels.
    """
    pixels = {
        layout.row(n, h, w): (n, h, w)
        for n in range(layout.N)
        for h in range(layout.H)
        for w in range(layout.W)
    }
    assert len(pixels) == layout.N * layout.H * layout.W
    reach = -(-layout.k // layout.C)  # rows that a padded line touches
    corners = product({0, layout.H - 1}, {0, layout.W // 2, layout.W - 1}, range(layout.R))
    for (h, w, line), n in product(corners, range(layout.N)):
        first = first_tap(layout, h, w, line, n)
        assert first + reach <= layout.rows
        for tap in range(reach):
            other = pixels.get(first + tap)
            assert other is None or other[0] == n
            y, x = h + line - layout.pad, w + tap - layout.lead - layout.pad
            if layout.lead <= tap < layout.lead + layout.R:
                inside = 0 <= y < layout.H and 0 <= x < layout.W
                assert other == ((n, y, x) if inside else None)


@layouts
def test_lines_and_planes_start_at_sixteen_bytes(layout):
    """In half precision: 8 elements."""
    starts = [first_tap(layout, h, 0, 0, n) for h in range(layout.H) for n in range(layout.N)]
    starts += [layout.row(n, h, 0) for h in range(layout.H) for n in range(layout.N)]
    assert all(row * layout.C % 8 == 0 for row in (*starts, layout.rows))
    assert layout.k % layout.block_k == 0
    assert 0 <= layout.k - layout.line < layout.block_k


@layouts
def test_an_images_pixels_are_in_its_own_rows(layout):
    base = layout.row(0, 0, 0)
    assert layout.pixels <= layout.row(0, layout.H - 1, layout.W - 1) - base + 1
    assert layout.row(0, layout.H - 1, layout.W - 1) - base < layout.tile_rows
    assert layout.tile_rows <= layout.image_rows
    if layout.N > 1:
        assert layout.row(1, 0, 0) - base == layout.image_rows
