"""This file has timm's evaluation transform, bit for bit, on Pillow and numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image

from ..decode import CROP_MODES, INTERPOLATIONS, Geometry
from ..errors import ConfigError

MODES = MappingProxyType({1: "L", 3: "RGB"})  # Pillow's mode for a channel count


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
    # What comes before `mean` and `std`: an image to pixels.
    geometry: Geometry = field(init=False, repr=False, compare=False)
    # [C, 256] float32: the normalized value of each level of each channel.
    _table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        channels, height, width = self.input_size
        geometry = Geometry(
            MODES[channels], (width, height), self.interpolation, self.crop_pct, self.crop_mode,
            self._fill(),
        )  # fmt: skip
        object.__setattr__(self, "geometry", geometry)
        column = (-1, 1)
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        mean = np.asarray(self.mean, np.float32).reshape(column)
        std = np.asarray(self.std, np.float32).reshape(column)
        object.__setattr__(self, "_table", (levels - mean) / std)

    @property
    def mode(self) -> str:
        """Return Pillow's mode that images are converted to."""
        return self.geometry.mode

    @property
    def resize_size(self) -> tuple[int, int]:
        """Return height and width in pixels that the crop is taken from, aspect ratio aside."""
        width, height = self.geometry.target
        return height, width

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.normalize(self.pixels(image))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return an image resized and cropped, uint8 [H, W, C], contiguous: all but normalized.

        Raises ImageError as a call of the transform does.
        """
        return pixels_of(self.geometry(image))

    def normalize(self, pixels: np.ndarray) -> torch.Tensor:
        """Return uint8 [H, W, C] as torch.float32 [C, H, W], each level to the bits of timm."""
        out = np.empty(self.input_size, np.float32)
        for channel, values in enumerate(self._table):
            # "clip" writes straight into `out`; no level is outside the table.
            np.take(values, pixels[:, :, channel], out=out[channel], mode="clip")
        return torch.from_numpy(out)

    def _fill(self) -> int | tuple[int, ...]:
        """Return the colour of padding, 0 to 255 per channel."""
        if self.crop_mode != "border":
            return 0
        levels = tuple(round(255 * value) for value in self.mean)
        return levels if len(levels) > 1 else levels[0]


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return a copy of an image's pixels, uint8 [H, W, C], contiguous."""
    return np.array(image).reshape(image.height, image.width, -1)


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
