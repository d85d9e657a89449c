"""A row's image comes as bytes, a path, an image in memory or Hugging Face's dict.

Each becomes what `read_image` reads. What is none of them has a reader that says so, so that it is
a row with an error.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError

SOURCES = ("bytes", "image", "source", "path")  # columns; the first that a batch has is read


def source_of(column: str, value: Any) -> Any:
    """Return what `read_image` takes for a value of a column of SOURCES."""
    if column == "image" and isinstance(value, dict):  # Hugging Face's undecoded images
        content = value.get("bytes")
        column, value = "source", value.get("path") if content is None else content
    if column == "image" and isinstance(value, (np.ndarray, Image.Image)):
        return InMemory(value)
    if column in ("bytes", "source") and isinstance(value, (bytes, bytearray, memoryview)):
        return value
    if column in ("path", "source") and isinstance(value, (str, os.PathLike)):
        return value
    if column == "source" and hasattr(value, "read"):
        return value
    return Missing(column, value)


class InMemory:
    """An image in memory goes the way of a file: it is read as the bytes of a PPM."""

    def __init__(self, image: np.ndarray | Image.Image) -> None:
        self.image = image

    def read(self) -> bytes:
        """Return the file. Raises ImageError for an array that is no image, or damaged data."""
        image = self._image()
        if image.mode != "L":
            image = image.convert("RGB")
        kind = b"P5" if image.mode == "L" else b"P6"
        return b"%s\n%d %d\n255\n%s" % (kind, *image.size, image.tobytes())

    def _image(self) -> Image.Image:
        found = self.image
        if isinstance(found, Image.Image):
            try:
                found.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise ImageError(f"damaged image: {error}") from error
            return found
        channels = found.shape[2] if found.ndim == 3 else 1
        if found.dtype != np.uint8 or found.ndim not in (2, 3) or channels not in (1, 3, 4):
            raise ImageError(
                f"an array must be uint8 [H, W, 3], got {found.dtype} {list(found.shape)}"
            )
        return Image.fromarray(found.reshape(found.shape[:2]) if channels == 1 else found)


class Missing:
    """A value stands where an image should be; reading it raises ImageError."""

    def __init__(self, column: str, value: Any) -> None:
        self.reason = f"column {column} has no image, but {type(value).__name__}"

    def read(self) -> bytes:
        raise ImageError(self.reason)
