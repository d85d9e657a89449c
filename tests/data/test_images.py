from __future__ import annotations

import contextlib
import io
import os
import tracemalloc
import warnings

import pytest
from PIL import Image

from r2n_kernels.data import read_image
from r2n_kernels.errors import ConfigError, ImageError

from ..decode.hostile import encoded, png_claiming

NOT_UTF8 = os.fsdecode(b"caf\xe9\xff.png")


def pixels(image):
    """All that matters of an image; Pillow's == also compares what its file said."""
    return image.mode, image.size, image.tobytes()


class TestRead:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_equals_pillow(self, photos, kind, mode):
        content = encoded(photos["china"], kind)
        with Image.open(io.BytesIO(content)) as image:
            assert pixels(read_image(content, mode)) == pixels(image.convert(mode))

    def test_sources(self, photos, save, tmp_path):
        path = save(photos["china"], "photo.png")
        content = path.read_bytes()
        for source in (path, str(path), content, bytearray(content), memoryview(content)):
            assert pixels(read_image(source)) == pixels(photos["china"])
        with open(path, "rb") as file:
            assert pixels(read_image(file)) == pixels(photos["china"])
            assert not file.closed

    def test_binary_file_is_read_from_its_position(self, photos):
        file = io.BytesIO(b"prefix" + encoded(photos["china"], "PNG"))
        file.seek(6)
        assert pixels(read_image(file)) == pixels(photos["china"])

    def test_first_frame_of_an_animation(self, photos):
        frames = [photos["china"].quantize(32), photos["flower"].quantize(32)]
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert pixels(read_image(content)) == pixels(frames[0].convert("RGB"))

    def test_name_that_is_not_utf8(self, photos, save):
        path = save(photos["china"], NOT_UTF8)
        assert pixels(read_image(path)) == pixels(photos["china"])

    def test_no_file_stays_open(self, photos, save, tmp_path):
        good = save(photos["china"], "good.png")
        bad = tmp_path / "bad.jpg"
        bad.write_bytes(encoded(photos["china"], "JPEG")[:5000])
        before = sorted(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else None
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            for _ in range(3):
                read_image(good)
                with pytest.raises(ImageError, match="truncated"):
                    read_image(bad)
        if before is not None:
            assert sorted(os.listdir("/dev/fd")) == before


class TestHostile:
    """Every failure is an ImageError whose message is a reason without the path."""

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "^the file is empty$"),
            (b"\x89", "not an image in a known format"),
            (b"Just some text.\n" * 100, "not an image in a known format"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a known form"),
            (b"\xff\xd8\xff\xe0" + b"\0" * 500, "damaged image|not an image"),
            (bytes(range(256)) * 40, "not an image in a known format"),
            (png_claiming(60000, 60000), "too large"),
            (png_claiming(12000, 12000), "^too large: 12000x12000 pixels, the limit is"),
            (png_claiming(1000, 1000), "damaged image: image file is truncated"),
            (png_claiming(0, 10), "not an image|damaged image"),
        ],
        ids=lambda value: str(value)[:20],
    )
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_content(self, tmp_path, content, reason):
        path = tmp_path / "secret name.png"
        path.write_bytes(content)
        for source in (content, path):
            with pytest.raises(ImageError, match=reason) as caught:
                read_image(source)
            assert "secret" not in str(caught.value)
            assert len(str(caught.value)) < 120
            assert "\n" not in str(caught.value)

    @pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
    def test_bomb_where_the_user_made_the_warning_an_error(self):
        with pytest.raises(ImageError, match="decompression bomb"):
            read_image(png_claiming(12000, 12000))

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_bomb_is_refused_before_it_is_decoded(self):
        read_image(encoded(Image.new("RGB", (9, 9)), "PNG"))  # loads the decoders
        tracemalloc.start()
        with pytest.raises(ImageError, match="too large"):
            read_image(png_claiming(12000, 12000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20

    def test_limit_is_pillows(self, photos, monkeypatch):
        content = encoded(photos["china"], "PNG")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 640 * 427)
        assert read_image(content).size == (640, 427)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 640 * 427 - 1)
        with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ImageError, match="limit"):
            read_image(content)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert read_image(content).size == (640, 427)

    @pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize(
        ("kind", "options"),
        [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("TIFF", {})],
        ids=str,
    )
    @pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on a cut EXIF block
    def test_truncated(self, photos, kind, options, part):
        content = encoded(photos["china"], kind, **options)
        with pytest.raises(ImageError, match=r"damaged|truncated"):
            read_image(content[: int(len(content) * part)])

    @pytest.mark.parametrize("kind", [b"IHDR", b"IDAT"])
    def test_png_with_a_wrong_checksum(self, photos, kind):
        content = bytearray(encoded(photos["china"], "PNG"))
        start = content.index(kind)
        length = int.from_bytes(content[start - 4 : start], "big")
        content[start + 4 + length] ^= 0xFF
        with pytest.raises(ImageError, match="damaged"):
            read_image(bytes(content))

    def test_png_with_changed_pixels(self, photos):
        content = bytearray(encoded(photos["china"], "PNG", compress_level=0))
        content[content.index(b"IDAT") + 5000] ^= 0xFF
        with pytest.raises(ImageError, match="checksum"):
            read_image(bytes(content))

    def test_noise_in_place_of_the_data(self, photos):
        """Whatever Pillow raises on damaged data, only ImageError comes out."""
        contents = [
            encoded(photos["china"], kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for content in contents:
                for start in range(0, 400, 7):
                    damaged = bytearray(content)
                    damaged[start : start + 5] = b"\xff\x00\x7f\x80\x01"
                    with contextlib.suppress(ImageError):
                        read_image(bytes(damaged))

    def test_places_without_a_file(self, tmp_path):
        for path, reason in [
            (tmp_path / "missing.png", "^no such file$"),
            (tmp_path, "^is a folder$"),
            (tmp_path / ("x" * 300), "file name too long"),
            ("null\0byte.png", "^not a possible file name$"),
            ("half\ud800surrogate.png", "^not a possible file name$"),
            ("", "^no such file$"),
        ]:
            with pytest.raises(ImageError, match=reason):
                read_image(path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_named_pipe_does_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match=r"^not a regular file$"):
            read_image(tmp_path / "pipe.png")

    def test_no_permission(self, photos, save, monkeypatch):
        path = save(photos["china"], "private.png")

        def refuse(*args):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", refuse)  # root may open every file
        with pytest.raises(ImageError, match=r"^permission denied$"):
            read_image(path)

    def test_failing_device(self):
        class Failing(io.RawIOBase):
            def read(self, *args):
                raise OSError(5, "Input/output error")

        with pytest.raises(ImageError, match=r"^input/output error$"):
            read_image(Failing())

    def test_no_memory(self, photos, monkeypatch):
        def exhausted(*args):
            raise MemoryError

        content = encoded(photos["china"], "JPEG")
        monkeypatch.setattr(Image.Image, "convert", exhausted)
        with pytest.raises(ImageError, match="not enough memory"):
            read_image(content, "L")

    def test_folder_that_cannot_be_listed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *args: False)  # root may list every folder
        with pytest.raises(ImageError, match="is a folder that cannot be listed"):
            read_image(tmp_path)

    def test_misuse(self, photos):
        with pytest.raises(TypeError, match="not int"):
            read_image(7)
        with pytest.raises(TypeError, match="binary mode"):
            read_image(io.StringIO("text"))
        with pytest.raises(ConfigError, match="RGB or L, not 'CMYK'"):
            read_image(encoded(photos["china"], "JPEG"), "CMYK")
