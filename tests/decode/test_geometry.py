"""Its bits are timm's: tests/data/test_transform.py compares them."""

from __future__ import annotations

import pickle

import pytest
from PIL import Image

from r2n_kernels.decode import Geometry
from r2n_kernels.errors import ImageError

from .conftest import GEOMETRY


def test_can_be_pickled_and_compared():
    assert pickle.loads(pickle.dumps(GEOMETRY)) == GEOMETRY
    assert len({GEOMETRY, pickle.loads(pickle.dumps(GEOMETRY))}) == 1


def test_wide_crop():
    geometry = Geometry("L", (50, 20), "bicubic", 1.0, "squash")
    assert geometry.target == (50, 20)
    found = geometry(Image.new("RGB", (7, 400), (255, 255, 255)))
    assert (found.mode, found.size, found.getextrema()) == ("L", (50, 20), (255, 255))


def test_lines_before_they_are_squashed_count_too():
    """Pillow would make 73 pixels of each of 2 million lines before it takes 64 of them."""
    geometry = Geometry("RGB", (64, 64), "bilinear", 0.875, "squash")
    assert geometry.resized((1, 10**5)) == (73, 73)
    with pytest.raises(ImageError, match="too elongated: 1x2000000 pixels would be resized to 73x"):
        geometry.resized((1, 2 * 10**6))


@pytest.mark.parametrize("size", [(2048, 1), (1, 2048)])
def test_limit_of_what_a_resize_makes(size):
    most = 73 * 73 * 2048
    assert GEOMETRY.resized(size, most) in [(73 * 2048, 73), (73, 73 * 2048)]
    with pytest.raises(ImageError, match="too elongated"):
        GEOMETRY.resized(size, most - 1)
