"""Which form a chain takes: that it fits, what it costs, and what is refused."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch

from r2n_kernels.config import VARIANTS
from r2n_kernels.kernels.forms import (
    ResidentForm,
    choose_form,
    column_parts,
    halo_rows,
    held_rows,
    image_rows,
)
from r2n_kernels.kernels.layout import PlanesLayout, pad_channels
from r2n_kernels.kernels.targets import INTERPRETER, TARGETS
from r2n_kernels.kernels.tiles import power_of_two

GLUON = [name for name, target in TARGETS.items() if not target.no_gluon]


def layout(side: int, channels: int, images: int = 256) -> PlanesLayout:
    return PlanesLayout(images, side, side, channels, 16)


@pytest.mark.parametrize("columns", range(8, 264, 8))
@pytest.mark.parametrize("most", [1, 2, 3])
def test_parts_cover_the_columns(columns, most):
    parts = column_parts(columns, most)
    assert columns <= sum(parts) <= power_of_two(columns)
    assert len(parts) <= most
    assert sorted(parts, reverse=True) == list(parts)
    assert all(part >= 8 and part & (part - 1) == 0 for part in parts)
    if columns.bit_count() <= most:
        assert sum(parts) == columns


def test_the_headline_s_forms_on_h100():
    found = {s: choose_form(layout(s, c), 2, TARGETS["sm_90"])[0] for s, c in
             ((56, 32), (28, 56), (14, 104), (7, 208))}  # fmt: skip
    assert [found[s].columns(c) for s, c in ((28, 56), (14, 104), (7, 208))] == [
        (32, 16, 8), (64, 32, 8), (128, 64, 16),
    ]  # fmt: skip
    assert {s: (f.images, f.tiles, f.block_m) for s, f in found.items()} == {
        56: (0, 3, 128), 28: (0, 3, 128), 14: (2, 0, 448), 7: (2, 0, 128),
    }  # fmt: skip
    assert found[14].products(104) == (
        (256, (64, 32, 8)), (128, (64, 32, 8)), (64, (64, 32, 16)),  # where two warps share rows
    )  # fmt: skip
    assert all(form.wgmma == 1 for form in found.values())


@pytest.mark.parametrize("target", GLUON)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_chosen_form_is_one_that_runs(name, target):
    limits, taken = TARGETS[target], 0
    for block in VARIANTS[name].blocks():
        for size in (32, 224, 320):
            side, c = max(1, size // 4 >> block.layer), pad_channels(block.width)
            form, why = choose_form(layout(side, c), 2, limits)
            if form is None:
                assert why == f"{side}x{side} pixels of {c} channels do not fit the shared " \
                    f"memory or the registers of {target}"  # fmt: skip
                continue
            taken += 1
            assert form.fault(layout(side, c)) == ""
            assert form.shared_bytes(c, 2) <= limits.shared_bytes
            assert form.sums(c) < form.registers <= 255
            assert form.wgmma == (target == "sm_90")
    assert taken


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 11, 14])
def test_whole_images_keep_apart(side):
    """No tap of a pixel reads another image's pixel, as rows wrap around the buffer."""
    here = layout(side, 16)
    form, _ = choose_form(here, 2, TARGETS["sm_90"])
    pitch, every = side + 1, image_rows(side, side)
    owner = {
        (pitch + 1 + n * every + h * pitch + w) % form.buffer: n
        for n, h, w in product(range(form.images), range(side), range(side))
    }
    assert len(owner) == form.images * side * side
    for n, h, w in product(range(form.images), range(side), range(side)):
        for i, j in product(range(3), range(3)):
            row = (n * every + (h + i) * pitch + w + j) % form.buffer
            inside = 0 <= h + i - 1 < side and 0 <= w + j - 1 < side
            assert owner.get(row) == (n if inside else None)


def test_costs_by_hand():
    """Two images of 7x7 a CTA, three of them; windows of 12 rows of 28 pixels with their halo."""
    seven, form = layout(7, 208, 3), choose_form(layout(7, 208), 2, TARGETS["sm_90"])[0]
    assert form.ctas(3) == 2
    assert form.macs(seven, 3) == 3 * 2 * 128 * 208 * 9 * 208
    two = choose_form(layout(14, 104), 2, TARGETS["sm_90"])[0]
    assert two.macs(layout(14, 104, 5), 3) == 3 * 3 * (384 * 104 + 64 * 112) * 9 * 112
    weights, pixels = 2 * 3 * 9 * 208 * 208 * 2, 3 * 49 * 208 * 2
    assert form.bytes_l2(seven, 3, 2) == weights + 2 * 3 * pixels
    wide, form = layout(28, 56, 1), choose_form(layout(28, 56), 2, TARGETS["sm_90"])[0]
    assert form.macs(wide, 3) == 3 * 7 * 128 * 56 * 9 * 64
    held = sum(
        -30 <= row - start < 384 + 30
        for start in (0, 384, 768)
        for row in range(28 * 29)
        if row % 29 < 28
    )
    row, weights = 56 * 2, 3 * 9 * 56 * 128
    assert form.bytes_l2(wide, 3, 2) == weights + row * (5 * held + 3 * 28 * 28)


@pytest.mark.parametrize(
    ("target", "side", "channels", "itemsize", "reason"),
    [
        ("sm_100", 14, 104, 2, "sums in tensor memory are yet to be done"),
        ("gfx942", 14, 104, 2, "they use NVIDIA's instructions"),
        ("sm_90", 14, 104, 4, "matrix instructions for float32 are not IEEE"),
        ("sm_90", 14, 8, 2, "splits of 8 channels are less than a product is deep"),
        ("sm_90", 24, 104, 2, "24x24 pixels of 104 channels do not fit the shared memory or the"),
        ("sm_90", 7, 384, 2, "7x7 pixels of 384 channels do not fit"),
        ("sm_120", 28, 56, 2, "28x28 pixels of 56 channels do not fit"),
    ],
)
def test_what_has_no_form(target, side, channels, itemsize, reason):
    form, why = choose_form(layout(side, channels), itemsize, TARGETS[target])
    assert form is None
    assert why.startswith(reason)


def test_the_interpreter_has_none():
    assert choose_form(layout(14, 104), 2, INTERPRETER) == (
        None, "Triton's interpreter does not run Gluon",
    )  # fmt: skip


IMAGES, _ = choose_form(layout(7, 208), 2, TARGETS["sm_90"])
WINDOWS, _ = choose_form(layout(28, 56), 2, TARGETS["sm_90"])


@pytest.mark.parametrize(
    ("form", "change", "fault"),
    [
        (IMAGES, {"buffer": 100}, r"must be powers of two, got \(100, 64, 8\)"),
        (IMAGES, {"block_m": 32}, "3 powers of two, each at least 64, got 32"),
        (IMAGES, {"block_m": 960}, "3 powers of two, each at least 64, got 960"),
        (IMAGES, {"wgmma": 0, "block_m": 192}, "each at least 128, got 192"),
        (WINDOWS, {"block_m": 64}, "each at least 128, got 64"),
        (IMAGES, {"block_k": 8}, "block_k must be at least 16"),
        (IMAGES, {"parts": 0}, "parts 1"),
        (IMAGES, {"warps": 2}, "warps must be 4 or 8, wgmma 0 or 1, got 2 and 1"),
        (IMAGES, {"wgmma": 2}, "got 8 and 2"),
        (IMAGES, {"registers": 256}, "registers must be 32 to 255 a thread, got 256"),
        (IMAGES, {"images": 3, "block_m": 192}, "192 rows do not fit a buffer of 128"),
        (IMAGES, {"images": 3}, "all their rows in block_m"),
        (IMAGES, {"tiles": 1}, "whole images need 0 tiles"),
        (IMAGES, {"stages": 1}, "2 or more stages"),
        (WINDOWS, {"tiles": 4}, "572 rows do not fit a buffer of 512"),
        (WINDOWS, {"tiles": 0}, "windows need 1 or more tiles"),
        (WINDOWS, {"stages": 2}, "0 stages"),
        (WINDOWS, {"block_k": 32}, "all channels in block_k"),
        (WINDOWS, {"images": -1}, "windows need"),
    ],
)
def test_faults(form: ResidentForm, change, fault):
    here = layout(7, 208) if form is IMAGES else layout(28, 56)
    assert form.fault(here) == ""
    found = dataclasses.replace(form, **change).fault(here)
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(found)


@pytest.mark.parametrize("side", [56, 57, 128, 180, 250, 446])
def test_windows_are_not_mostly_halo(side):
    form, _ = choose_form(layout(side, 32), 2, TARGETS["sm_90"])
    if form is None:
        assert side == 446
        return
    here = layout(side, 32, 1)
    rows, window = torch.arange(here.tile_rows), form.tiles * 128
    pixels = rows[rows % here.pitch < side]
    held = sum(
        int(((start - here.pitch - 1 <= pixels) & (pixels < start + window + here.pitch + 1)).sum())
        for start in range(0, here.tile_rows, window)
    )
    assert held == form._window_pixels(here)
    assert held <= 2 * side * side


@pytest.mark.parametrize(("images", "kept", "rows"), [(132, 1, 256), (256, 2, 448), (300, 1, 768)])
def test_the_form_whose_busiest_sm_has_the_fewest_rows_is_taken(images, kept, rows):
    here = layout(14, 104, images)
    form, why = choose_form(here, 2, TARGETS["sm_90"])
    assert (form.images, form.busiest(here, 132)) == (kept, rows)
    assert why == f"a CTA keeps {'an image' if kept == 1 else '2 images'} in shared memory"


def test_rows():
    assert held_rows(layout(14, 104)) == 14 * 15 + 15
    assert (image_rows(7, 7), halo_rows(28)) == (64, 60)
