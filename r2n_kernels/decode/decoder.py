"""A Decoder turns one source into the pixels that a model sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..errors import ConfigError
from .geometry import Box, Geometry, Size
from .limits import Limits
from .reading import converted, opened

DECODES = ("exact", "turbo")
ROUGH = ("nearest", "box")  # interpolations that make much of small shifts: never turbo
MARGIN = 2  # how much larger than the resized image a scaled JPEG must be, along each edge


@dataclass(frozen=True)
class Decoder:
    """A Decoder reads an image within limits, resizes and crops it; it can be pickled.

    "exact" has timm's bits. "turbo" lets libjpeg decode a JPEG at 1/2, 1/4 or 1/8 of its size, the
    smallest that is still twice as large as the resized image: a photograph of 12 megapixels takes
    22 ms of the CPU instead of 104. On the two photographs of scikit-learn at 12 megapixels no
    value (0 to 255) differs from the exact one by more than 4, and by 0.4 on average; at the worst
    of the sizes tried (1.5 to 18 megapixels) by 11, and 0.95 on average. Smaller images, other
    formats, and the interpolations "nearest" and "box" are decoded exactly.
    """

    geometry: Geometry
    limits: Limits = field(default_factory=Limits)
    decode: str = "exact"
    mode: str | None = None  # what images are read as: "RGB" or "L"; None: the geometry's

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            known = ", ".join(DECODES)
            raise ConfigError(f"unknown decode {self.decode!r}; there are {known}")

    def __call__(self, source: Any) -> Image.Image:
        """Return an image of the geometry's mode and size.

        Raises ImageError with a short reason, MemoryError, and TypeError for what is no source.
        """
        mode = self.mode or self.geometry.mode
        with opened(source, self.limits) as image:
            size = self.geometry.resized(image.size, self.limits.resized_pixels)
            turbo = self.decode == "turbo" and self.geometry.interpolation not in ROUGH
            box = _draft(image, size) if turbo else None
            image = converted(image, mode)
        if mode != self.geometry.mode:
            image = image.convert(self.geometry.mode)
        return self.geometry.cut(image, size, box)


def _draft(image: Image.Image, size: Size) -> Box | None:
    """Have an image decoded smaller, if its format can; return the box that it then fills."""
    before = image.size
    drafted = image.draft(None, (MARGIN * size[0], MARGIN * size[1]))
    # The edges are rounded up: the box says where the image ends, in fractions of a pixel.
    return drafted[1] if drafted and image.size != before else None
