"""Geometry has timm's resize and centre crop, bit for bit, on Pillow alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image

from ..errors import ImageError
from .limits import RESIZED_PIXELS

INTERPOLATIONS = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
        "lanczos": Image.Resampling.LANCZOS,
    }
)
CROP_MODES = ("center", "squash", "border")

Size = tuple[int, int]  # width and height in pixels
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Geometry:
    """A Geometry resizes and crops: what of an image a model sees, and how large.

    `size` is that of the result; `fill` is the colour of padding, where the crop is larger than
    what it is taken from. The values are not checked here: `create_transform` does.
    """

    mode: str  # Pillow's: "RGB" or "L"
    size: Size
    interpolation: str
    crop_pct: float
    crop_mode: str
    fill: int | tuple[int, ...] = 0

    @property
    def target(self) -> Size:
        """Return the size that the crop is taken from, aspect ratio aside."""
        width, height = self.size
        return math.floor(width / self.crop_pct), math.floor(height / self.crop_pct)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return an image of `mode` and `size`; raise ImageError if it is too elongated."""
        if image.mode != self.mode:
            image = image.convert(self.mode)
        return self.cut(image, self.resized(image.size))

    def resized(self, size: Size, most: int = RESIZED_PIXELS) -> Size:
        """Return the size that an image is resized to before the crop.

        Raises ImageError if the resize would make more than `most` pixels, or none.
        """
        width, height = found = self._resized(*size)
        # Some Pillows resize the lines first, as many as there are: `size[1]` of the new width.
        if min(found) < 1 or width * max(height, size[1]) > most:
            was = f"{size[0]}x{size[1]}"
            raise ImageError(f"too elongated: {was} pixels would be resized to {width}x{height}")
        return found

    def cut(self, image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
        """Resize an image, or a box of it, to `size`, and take the crop from its centre.

        The crop comes last even where it keeps little: Pillow's coefficients for a part of an image
        are rounded otherwise, and the order of its two passes is its own, so bits would change.
        """
        if size != image.size or box is not None:
            image = image.resize(size, INTERPOLATIONS[self.interpolation], box=box)
        if image.size == self.size:
            return image
        width, height = self.size
        left, pad_left = _centre(image.width, width)
        top, pad_top = _centre(image.height, height)
        part = image.crop(
            (left, top, min(left + width, image.width), min(top + height, image.height))
        )
        if part.size == self.size:
            return part
        canvas = Image.new(self.mode, self.size, self.fill)
        canvas.paste(part, (pad_left, pad_top))
        return canvas

    def _resized(self, width: int, height: int) -> Size:
        """Return width and height after the resize, rounded as timm and torchvision round."""
        to_width, to_height = self.target
        if self.crop_mode == "squash":
            return to_width, to_height
        if self.crop_mode == "center" and to_height == to_width:
            # torchvision's Resize: the short edge exactly, the long edge truncated.
            short, long = min(width, height), max(width, height)
            long = int(to_height * long / short)
            return (to_height, long) if width <= height else (long, to_height)
        # timm's ResizeKeepRatio: fill the target ("border": stay inside it), edges rounded.
        pick = max if self.crop_mode == "border" else min
        ratio = pick(height / to_height, width / to_width)
        return round(width / ratio), round(height / ratio)


def _centre(have: int, want: int) -> tuple[int, int]:
    """Return a centred crop's start along one edge, and the padding before it if have < want."""
    if have < want:
        return 0, (want - have) // 2
    return round((have - want) / 2), 0
