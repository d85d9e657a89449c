"""This file has timm's evaluation transform, bit for bit, on Pillow and numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image

from ..errors import ConfigError, ImageError

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
MODES = MappingProxyType({1: "L", 3: "RGB"})  # Pillow's mode for a channel count

# Resizing the short edge of a 1 x 9000 image to 256 would make 590 million pixels.
MAX_RESIZED_PIXELS = 2**27


def create_transform(
    *,
    input_size: Sequence[int],
    interpolation: str,
    mean: Sequence[float],
    std: Sequence[float],
    crop_pct: float,
    crop_mode: str | None = "center",
    is_training: bool = False,
) -> EvalTransform:
    """Build the transform that `resolve_model_data_config` describes.

    `input_size` is (channels, height, width) in pixels, `mean` and `std` have one value per channel
    on the scale 0 to 1, `crop_pct` is the share of the resized image that the crop keeps.

    Returns a callable, PIL image -> torch.float32 [C, H, W]. Raises ConfigError for training, and
    for any value outside what timm knows.
    """
    if is_training:
        raise ConfigError("is_training=True: this is inference only; augment with timm's transform")
    size = _checked_size(input_size)
    if interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ConfigError(f"unknown interpolation {interpolation!r}; there are {known}")
    crop_mode = crop_mode or "center"
    if crop_mode not in CROP_MODES:
        known = ", ".join(CROP_MODES)
        raise ConfigError(f"unknown crop_mode {crop_mode!r}; there are {known}")
    # The negation catches NaN too.
    if not isinstance(crop_pct, (int, float)) or not 0 < crop_pct < math.inf:
        raise ConfigError(f"crop_pct must be a positive number, got {crop_pct!r}")
    if min(size[1:]) < crop_pct:
        raise ConfigError(f"crop_pct {crop_pct} leaves nothing of an input of {size[1:]} pixels")
    mean, std = _checked_stats("mean", mean, size[0]), _checked_stats("std", std, size[0])
    if min(abs(np.float32(value)) for value in std) == 0:
        raise ConfigError(f"std must not be zero, got {std}")
    return EvalTransform(size, interpolation, mean, std, crop_pct, crop_mode)


@dataclass(frozen=True)
class EvalTransform:
    """Resize, centre crop, scale to 0..1 and normalize; made by `create_transform`.

    Called with a PIL image of any mode, it converts to the mode that the channel count wants (1:
    "L", 3: "RGB") and returns torch.float32 [C, H, W]. As in timm, an EXIF orientation is not
    applied, and an image smaller than the crop is padded (with black; in crop mode "border" with
    the mean). Raises ImageError for an image so elongated that it cannot be resized.
    """

    input_size: tuple[int, int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    crop_mode: str
    # [C, 256] float32: the normalized value of each level of each channel.
    _table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        column = (-1, 1)
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean = np.asarray(self.mean, np.float32).reshape(column)
        std = np.asarray(self.std, np.float32).reshape(column)
        object.__setattr__(self, "_table", (levels - mean) / std)

    @property
    def mode(self) -> str:
        """Return Pillow's mode that images are converted to."""
        return MODES[self.input_size[0]]

    @property
    def resize_size(self) -> tuple[int, int]:
        """Return height and width in pixels that the crop is taken from, aspect ratio aside."""
        _, height, width = self.input_size
        return math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self._normalize(self.pixels(image))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return the resized, cropped image before it is normalized, uint8 [H, W, C]."""
        if image.mode != self.mode:
            image = image.convert(self.mode)
        image = self._crop(self._resize(image))
        return np.array(image).reshape(image.height, image.width, -1)

    def _resize(self, image: Image.Image) -> Image.Image:
        width, height = size = self._resized(*image.size)
        if min(size) < 1 or width * height > MAX_RESIZED_PIXELS:
            was, now = f"{image.width}x{image.height}", f"{width}x{height}"
            raise ImageError(f"too elongated: {was} pixels would be resized to {now}")
        if size == image.size:
            return image
        return image.resize(size, INTERPOLATIONS[self.interpolation])

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after the resize, rounded as timm and torchvision round."""
        to_height, to_width = self.resize_size
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

    def _crop(self, image: Image.Image) -> Image.Image:
        _, height, width = self.input_size
        if image.size == (width, height):
            return image
        left, pad_left = _centre(image.width, width)
        top, pad_top = _centre(image.height, height)
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        part = image.crop(box)
        if part.size == (width, height):
            return part
        canvas = Image.new(self.mode, (width, height), self._fill())
        canvas.paste(part, (pad_left, pad_top))
        return canvas

    def _fill(self) -> int | tuple[int, ...]:
        """Return the colour of padding, 0 to 255 per channel."""
        if self.crop_mode != "border":
            return 0
        levels = tuple(round(255 * value) for value in self.mean)
        return levels if len(levels) > 1 else levels[0]

    def _normalize(self, pixels: np.ndarray) -> torch.Tensor:
        out = np.empty(self.input_size, np.float32)
        for channel, values in enumerate(self._table):
            # "clip" writes straight into `out`; no level is outside the table.
            np.take(values, pixels[:, :, channel], out=out[channel], mode="clip")
        return torch.from_numpy(out)


def _centre(have: int, want: int) -> tuple[int, int]:
    """Return a centred crop's start along one edge, and the padding before it if have < want."""
    if have < want:
        return 0, (want - have) // 2
    return round((have - want) / 2), 0


def _checked_size(input_size: Sequence[int]) -> tuple[int, int, int]:
    if not isinstance(input_size, (tuple, list)) or len(input_size) != 3:
        raise ConfigError(f"input_size must be (channels, height, width), got {input_size!r}")
    size = tuple(input_size)
    if not all(isinstance(value, int) and value > 0 for value in size):
        raise ConfigError(f"input_size must be positive integers, got {size}")
    if size[0] not in MODES:
        raise ConfigError(f"images have 1 (grey) or 3 (RGB) channels, not {size[0]}")
    return size


def _checked_stats(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    values = tuple(float(value) for value in values)
    if len(values) != channels or not all(map(math.isfinite, values)):
        raise ConfigError(f"{name} must be {channels} finite numbers (one a channel), got {values}")
    return values
