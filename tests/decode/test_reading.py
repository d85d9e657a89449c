"""What `read_image` does is tested in tests/data/test_images.py, where users find it."""

from __future__ import annotations

import tracemalloc

import pytest
from PIL import Image

from r2n_kernels import data
from r2n_kernels.decode import Limits, read_image
from r2n_kernels.decode.reading import content, webp_size
from r2n_kernels.errors import ImageError

from . import hostile
from .hostile import encoded


def test_it_is_the_public_one():
    assert data.read_image is read_image


@pytest.mark.parametrize("size", [(1, 1), (640, 427), (16383, 3)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGBA", {"lossless": True}), ("RGBA", {"lossless": False})],
)
def test_size_of_a_webp(size, mode, options):
    """The three headers: of a lossy image, a lossless one, and one with more than pixels."""
    image = Image.new(mode, size, (1, 2, 3, 128)[: len(mode)])
    head = encoded(image, "WEBP", method=0, **options)[:30]
    assert webp_size(head) == size


def test_no_webp():
    assert webp_size(b"") is None
    assert webp_size(encoded(Image.new("L", (9, 9)), "PNG")[:30]) is None
    assert webp_size(b"RIFF" + bytes(4) + b"WAVE" + bytes(18)) is None
    assert webp_size(hostile.webp_claiming(5, 6)[:20]) is None


def test_webp_is_refused_before_pillow_opens_it(monkeypatch):
    """Opening takes 8 bytes per pixel that it claims."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ImageError, match=r"^too large: 16383x16383 pixels, the limit is 89478485"):
        read_image(hostile.webp_claiming(16383, 16383))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limit_of_ones_own(monkeypatch):
    source = encoded(Image.new("RGB", (100, 80)), "PNG")
    assert read_image(source, limits=Limits(pixels=8000)).size == (100, 80)
    with pytest.raises(ImageError, match=r"^too large: 100x80 pixels, the limit is 7999 in all$"):
        read_image(source, limits=Limits(pixels=7999))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    assert read_image(source, limits=Limits(pixels=8000)).size == (100, 80)


def test_an_image_that_has_the_mode_is_not_copied(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was converted"))
    assert read_image(encoded(Image.new("RGB", (9, 9)), "JPEG")).mode == "RGB"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_that_unpacks_to_much_more(kind):
    source = hostile.png_with_text(kind, 2**26)
    tracemalloc.start()
    with pytest.raises(ImageError, match="too large"):
        read_image(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_content(tmp_path):
    class Remote:
        def read(self):
            return b"fetched"

    assert content(Remote()) == b"fetched"
    assert content(tmp_path) == str(tmp_path)
    assert content(bytearray(b"x")) == content(memoryview(b"x")) == b"x"
    with pytest.raises(TypeError, match="a path, bytes or a binary file is needed, not int"):
        content(7)
