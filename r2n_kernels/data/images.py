"""Read an image file completely, or say in a few words why not."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import IO

from PIL import Image, UnidentifiedImageError

from ..errors import ConfigError, ImageError

# What is read: formats with a signature whose decoder runs in this process. Pillow's EPS reader
# starts Ghostscript, and its TGA and PCX readers take almost any bytes for an image.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")


def read_image(
    source: str | os.PathLike | bytes | bytearray | memoryview | IO[bytes], mode: str = "RGB"
) -> Image.Image:
    """Read an image completely and convert it to `mode` ("RGB", "L").

    `source` is a path (str or PathLike), the content (bytes-like), or an open binary file, which is
    read from its position and left open. The first frame of an animation; a conversion is Pillow's
    own, so 16-bit values are clipped as they are in timm; an EXIF orientation is not applied.

    Raises ImageError with a short reason, without the path, whatever is wrong: no such file, not an
    image, truncated or damaged data, more pixels than `PIL.Image.MAX_IMAGE_PIXELS`. Raises
    ConfigError for another mode and TypeError for another kind of source.
    """
    if mode not in ("RGB", "L"):
        raise ConfigError(f"images are read as RGB or L, not {mode!r}")
    with _opened(source) as file:
        try:
            if not file.read(1):
                raise ImageError("the file is empty")
            file.seek(0)
            return _decode(file, mode)
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


@contextlib.contextmanager
def _opened(source: object) -> Iterator[IO[bytes]]:
    """Yield a seekable binary file at its start; raise ImageError if there is none."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        with _open_path(source) as file:
            yield file
    elif hasattr(source, "read"):
        try:
            content = source.read()
        except OSError as error:
            raise ImageError(_system_reason(error)) from error
        if not isinstance(content, bytes):
            raise TypeError("the file must be opened in binary mode")
        yield io.BytesIO(content)
    else:
        raise TypeError(f"a path, bytes or a binary file is needed, not {type(source).__name__}")


def _open_path(path: str | os.PathLike) -> IO[bytes]:
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


def _folder_reason(path: str | os.PathLike) -> str:
    readable = os.access(path, os.R_OK | os.X_OK)
    return "is a folder" if readable else "is a folder that cannot be listed"


def _system_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (error.strerror or type(error).__name__).lower()


def _decode(file: IO[bytes], mode: str) -> Image.Image:
    with _open_image(file) as image:
        if image.format == "PNG":
            # Pillow skips the checksums of pixel data unless asked, and verifying ends the reader.
            image.verify()
            file.seek(0)
            image = _open_image(file)
        with image:
            return image.convert(mode)


def _open_image(file: IO[bytes]) -> Image.Image:
    Image.init()  # registers the formats of this version of Pillow; old ones have no AVIF
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    # Pillow only warns up to twice this limit. Nothing is decoded yet.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        pixels = f"{image.width}x{image.height}"
        raise ImageError(f"too large: {pixels} pixels, the limit is {limit} in all")
    return image
