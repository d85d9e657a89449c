"""Boxes of tensor maps: what is in bounds, what fills the rest, what launches pass."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from r2n_kernels.emulator import EmulationError, UnsupportedError
from r2n_kernels.emulator.tensormaps import FIELDS, TensorMap, box_of, host_arguments

BASE = 1 << 20


def encoded(dims=(40, 10), box=(16, 4), *, elemtype=6, **options):
    strides = [2 * dims[0] * int(np.prod(dims[1:i])) for i in range(1, len(dims))]
    return TensorMap(None, elemtype, dims, strides, box, **options).encode(BASE)


def test_a_box_inside():
    box = box_of(encoded(), [8, 3])
    assert box.starts.tolist() == [BASE + 2 * (40 * row + 8) for row in (3, 4, 5, 6)]
    assert box.inside.all()
    assert box.columns == (0, 16)
    assert box.nbytes == 128


@pytest.mark.parametrize(
    ("at", "inside", "columns"),
    [
        ([32, 8], [True, True, False, False], (0, 8)),
        ([-4, -2], [False, False, True, True], (4, 16)),
        ([40, 0], [True] * 4, (0, 0)),
        ([100, 100], [False] * 4, (0, 0)),
    ],
)
def test_a_box_over_the_edge(at, inside, columns):
    box = box_of(encoded(), at)
    assert box.inside.tolist() == inside
    assert box.columns == columns


def test_five_dimensions():
    raw = encoded((8, 3, 4, 5, 6), (8, 1, 2, 1, 2))
    box = box_of(raw, [0, 2, 1, 4, 5])
    strides = [16, 48, 192, 960]
    first = BASE + 2 * strides[0] + strides[1] + 4 * strides[2] + 5 * strides[3]
    assert box.starts.tolist()[:2] == [first, first + strides[1]]
    assert box.inside.tolist() == [True, True, False, False]


def test_every_second_row_is_taken():
    raw = encoded(box=(16, 8))
    raw.view(FIELDS)["element_stride"][0, :2] = 1, 2
    box = box_of(raw, [0, 4])
    assert ((box.starts - BASE) // 80).tolist() == [4, 6, 8, 10]
    assert box.inside.tolist() == [True, True, True, False]


def test_rows_of_a_gather():
    box = box_of(encoded(box=(16, 1)), [16], rows=[7, 2, -1, 12])
    assert ((box.starts - BASE - 32) // 80).tolist() == [7, 2, -1, 12]
    assert box.inside.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("field", "value", "error", "match"),
    [
        ("rank", 7, EmulationError, "was it ever filled in"),
        ("global_dim", 0, EmulationError, "was it ever filled in"),
        ("elemtype", 13, UnsupportedError, "element type 13"),
        ("swizzle_mode", 4, UnsupportedError, "swizzle 4"),
        ("interleave_layout", 1, UnsupportedError, "interleaved"),
    ],
)
def test_maps_that_are_refused(field, value, error, match):
    raw = encoded()
    raw.view(FIELDS)[field] = value
    with pytest.raises(error, match=match):
        box_of(raw, [0, 0])


def descriptor(**options):
    base = np.zeros((6, 32), np.float16)
    return SimpleNamespace(base=base, shape=[6, 32], strides=[32, 1], padding="nan", **options)


def test_what_a_launch_passes():
    meta = {"swizzle": 2, "elem_size": 2, "elem_type": 6, "block_size": [4, 16],
            "fp4_padded": False}  # fmt: skip
    made, *rest = host_arguments(descriptor(), meta)
    assert rest == [6, 32, 32, 1]
    assert (made.dims, made.strides, made.box) == ([32, 6], [64], [16, 4])
    assert box_of(made.encode(BASE), [0, 0]).fill == 0x7FFF  # NaNs
    pointer = host_arguments(descriptor(round_f32_to_tf32=True), None)
    assert pointer[1:] == [6, 32, 32, 1, True, True, 6, 32, 32, 1]
    with pytest.raises(UnsupportedError, match="im2col"):
        host_arguments(descriptor(), {**meta, "is_im2col": True})
