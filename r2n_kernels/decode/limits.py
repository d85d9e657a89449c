"""Limits say how much one image may take of memory and time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from ..errors import ConfigError

# Bytes per pixel that Pillow's decoder and the conversion to RGB hold at once, at most, by format:
# measured, and rounded up. JPEG: a progressive one in CMYK keeps all coefficients, 2 bytes each.
BYTES_PER_PIXEL = {
    "JPEG": 16, "PNG": 12, "WEBP": 17, "GIF": 9, "BMP": 9, "TIFF": 13, "PPM": 9, "JPEG2000": 25,
    "AVIF": 20,
}  # fmt: skip
RESIZED_PIXELS = 2**26
STARTED = 2**25  # bytes of data that a worker holds without an image, and the file that it reads
LEAST_MEMORY = 2**26


@dataclass(frozen=True)
class Limits:
    """Limits bound what one image takes; an image beyond them is refused with a reason.

    Before anything is decoded `pixels` bounds what the file claims (None: Pillow's
    `MAX_IMAGE_PIXELS`, 89 million unless changed), and `resized_pixels` what the resize makes
    before the crop, which is far more for elongated images: 2**26 are an aspect ratio of 1024
    where the short edge becomes 256. Without a process of their own, images of more than twice
    `MAX_IMAGE_PIXELS` are refused by Pillow whatever `pixels` is.

    In a worker process, `seconds` is the longest that one image may take, waiting for the disk
    included, and `memory` the bytes of data that the process may hold (None: `worker_bytes`).
    """

    pixels: int | None = None
    resized_pixels: int = RESIZED_PIXELS
    seconds: float = 30.0
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in ("pixels", "resized_pixels", "memory"):
            value = getattr(self, name)
            if value is None and name != "resized_pixels":
                continue
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a positive integer, got {value!r}")
        if not isinstance(self.seconds, (int, float)) or not 0 < self.seconds < math.inf:
            raise ConfigError(f"seconds must be a positive number, got {self.seconds!r}")
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise ConfigError(f"memory must be at least {LEAST_MEMORY} bytes, got {self.memory}")

    @property
    def most_pixels(self) -> int | float:
        """Return the pixels that a file may claim: `pixels`, or Pillow's limit at this moment."""
        if self.pixels is not None:
            return self.pixels
        return math.inf if Image.MAX_IMAGE_PIXELS is None else Image.MAX_IMAGE_PIXELS

    @property
    def worker_bytes(self) -> int | float:
        """Return the memory in bytes that one worker takes at most, for an image of any format.

        It is `memory`; or, without, what the greediest decoder (JPEG 2000, 25 bytes per pixel) or
        the resize (the image, its result and one between, 4 bytes per pixel each) needs for the
        largest image: 2.1 GiB by default, for JPEG, PNG and TIFF alone 1.4 GiB. A thread may take
        as much, but nothing stops it there. The file's content comes on top where it is passed as
        bytes, and in WebP and AVIF. Infinite where Pillow's limit was switched off.
        """
        if self.memory is not None:
            return self.memory
        decoded = max(BYTES_PER_PIXEL.values()) * self.most_pixels
        resized = 4 * (self.most_pixels + 2 * self.resized_pixels)
        return max(decoded, resized) + STARTED
