"""Read an image completely, or say in a few words why not."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
from collections.abc import Iterator
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from ..errors import ConfigError, ImageError
from .limits import Limits

# What is read: formats with a signature whose decoder runs in this process. Pillow's EPS reader
# starts Ghostscript, and its TGA and PCX readers take almost any bytes for an image.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MODES = ("RGB", "L")


def read_image(
    source: str | os.PathLike | bytes | bytearray | memoryview | IO[bytes],
    mode: str = "RGB",
    limits: Limits | None = None,
) -> Image.Image:
    """Read an image completely and convert it to `mode` ("RGB", "L").

    `source` is a path (str or PathLike), the content (bytes-like), or an open binary file, which is
    read from its position and left open. The first frame of an animation; a conversion is Pillow's
    own, so 16-bit values are clipped as they are in timm; an EXIF orientation is not applied.

    Raises ImageError with a short reason, without the path, whatever is wrong: no such file, not an
    image, truncated or damaged data, more pixels than `limits.pixels`, by default
    `PIL.Image.MAX_IMAGE_PIXELS`. Raises ConfigError for another mode and TypeError for another kind
    of source.
    """
    if mode not in MODES:
        raise ConfigError(f"images are read as RGB or L, not {mode!r}")
    with opened(source, limits or Limits()) as image:
        return converted(image, mode)


@contextlib.contextmanager
def opened(source: Any, limits: Limits) -> Iterator[Image.Image]:
    """Yield an image whose pixels are not decoded yet; its errors are ImageErrors, in the body too.

    Raises ImageError as `read_image` does.
    """
    with _file(source) as file:
        try:
            if not file.read(1):
                raise ImageError("the file is empty")
            with _verified(file, limits) as image:
                yield image
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError("not an image in a known format, or its header is damaged") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError("too large: a possible decompression bomb") from error
        except MemoryError as error:
            raise ImageError("not enough memory to decode it") from error
        # Damaged data makes Pillow's decoders raise nearly anything: OSError, SyntaxError,
        # struct.error, EOFError, zlib.error, ValueError, KeyError, TypeError.
        except Exception as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise ImageError(f"damaged image: {lines[0]}") from error


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in a mode, decoded; Pillow's `convert` would copy one that has it."""
    image.load()
    return image if image.mode == mode else image.convert(mode)


def content(source: Any) -> str | bytes:
    """Return a source as a path, or as the bytes that an open file or a remote object reads.

    Raises ImageError if it cannot be read, and TypeError for another kind of source.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if not hasattr(source, "read"):
        raise TypeError(f"a path, bytes or a binary file is needed, not {type(source).__name__}")
    try:
        found = source.read()
    except OSError as error:
        raise ImageError(_system_reason(error)) from error
    if not isinstance(found, bytes):
        raise TypeError("the file must be opened in binary mode")
    return found


def _file(source: Any) -> IO[bytes]:
    """Return a seekable binary file at its start; raise ImageError if there is none."""
    found = content(source)
    return _open_path(found) if isinstance(found, str) else io.BytesIO(found)


def _open_path(path: str) -> IO[bytes]:
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise ImageError(_folder_reason(path))
        if not stat.S_ISREG(kind):  # opening a named pipe would wait for ever
            raise ImageError("not a regular file")
        return open(path, "rb")
    except OSError as error:
        raise ImageError(_system_reason(error)) from error
    except ImageError:
        raise
    except ValueError as error:  # a null byte, or a character the file system cannot encode
        raise ImageError("not a possible file name") from error


def _folder_reason(path: str) -> str:
    readable = os.access(path, os.R_OK | os.X_OK)
    return "is a folder" if readable else "is a folder that cannot be listed"


def _system_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (error.strerror or type(error).__name__).lower()


def _verified(file: IO[bytes], limits: Limits) -> Image.Image:
    image = _open_image(file, limits)
    if image.format == "PNG":
        # Pillow skips the checksums of pixel data unless asked, and verifying ends the reader.
        with image:
            image.verify()
        image = _open_image(file, limits)
    return image


def _open_image(file: IO[bytes], limits: Limits) -> Image.Image:
    """Return an image of which only the header was read, and whose size is within the limits."""
    Image.init()  # registers the formats of this version of Pillow; old ones have no AVIF
    file.seek(0)
    if size := webp_size(file.read(30)):  # Pillow takes 8 bytes per pixel as it opens a WebP
        _check(size, limits)
    file.seek(0)
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    _check(image.size, limits)
    return image


def _check(size: tuple[int, int], limits: Limits) -> None:
    if size[0] * size[1] > limits.most_pixels:
        pixels = f"{size[0]}x{size[1]}"
        raise ImageError(f"too large: {pixels} pixels, the limit is {limits.most_pixels} in all")


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height that a WebP claims in its first 30 bytes; None if it is none."""
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else None
