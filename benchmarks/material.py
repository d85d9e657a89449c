"""Cases are made of seeded noise, or of a folder's images, up to where the time begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data import find_images, read_image
from ..errors import ConfigError

SCOPES = ("model", "preprocessing and model", "decoding, preprocessing and model")
BY_NAME = dict(zip(("model", "preprocessing", "pipeline"), SCOPES, strict=True))
PHOTO = (500, 375)  # pixels, width and height: the usual image of ImageNet

Prepare = Callable[[Sequence[Image.Image]], Tensor]  # images -> [N, 3, H, W]


@dataclass(frozen=True)
class Material:
    """A Material is x of a case [N, 3, H, W], and what makes it anew; None where it is ready."""

    x: Tensor
    make: Callable[[], Tensor] | None = None


def material_of(
    batch: int, height: int, width: int, scope: str, prepare: Prepare, folder: str | None = None
) -> Material:
    """Make a batch, of a folder's first images in turns where there is one.

    Raises ConfigError for a folder without images, or decoding without a folder.
    """
    if scope not in SCOPES:
        raise ConfigError(f"unknown scope '{scope}'; expected one of {', '.join(SCOPES)}")
    if folder is None:
        if scope == SCOPES[2]:
            raise ConfigError("decoding is timed on files: --images FOLDER")
        if scope == SCOPES[0]:
            return Material(noise(batch, height, width))
        pictures = photos(batch)
    else:
        paths = images_in(folder)
        files = list(islice(cycle(paths), batch))
        pictures = decoded(files)
    make = {
        SCOPES[0]: None,
        SCOPES[1]: lambda: prepare(pictures),
        SCOPES[2]: lambda: prepare(decoded(files)),
    }[scope]
    return Material(prepare(pictures), make)


def images_in(folder: str) -> list[Path]:
    """Return a folder's images. Raises ConfigError where there are none."""
    found = [Path(path) for path in find_images([folder])]
    if not found:
        raise ConfigError(f"--images '{folder}': there is no image")
    return found


def decoded(files: Sequence[Path]) -> list[Image.Image]:
    """Read and decode files, in as many threads as torch has."""
    with ThreadPoolExecutor(min(len(files), torch.get_num_threads())) as pool:
        return list(pool.map(lambda path: read_image(path, "RGB"), files))


def noise(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def photos(count: int) -> list[Image.Image]:
    """Make decoded images of PHOTO's size of seeded noise: a transform costs the same for any."""
    rng = np.random.default_rng(0)
    shape = (PHOTO[1], PHOTO[0], 3)
    return [Image.fromarray(rng.integers(0, 256, shape, np.uint8)) for _ in range(count)]
