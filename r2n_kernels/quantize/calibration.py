"""Calibration images are held as bytes, with what the network should say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import ImageBatches
from ..data.loading import Transform
from ..data.targets import Target
from ..errors import ConfigError, InputError
from ..sources import Sample

Tick = Callable[[int], object]  # so many images were read, or went through a network


@dataclass(frozen=True, eq=False)
class Calibration:
    """A Calibration is a set of images, and the class of each.

    images: uint8 [N, H, W, C], as the model's transform leaves them.
    targets: int64 [N], or None where nobody knows: the float network's own answers then count.
    """

    images: Tensor
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or not len(self.images):
            shape = [*self.images.shape]
            raise InputError(f"expected bytes [N, H, W, C], got {self.images.dtype} {shape}")
        if self.targets is not None and len(self.targets) != len(self.images):
            raise InputError(f"{len(self.targets)} targets for {len(self.images)} images")

    def spread(self, most: int) -> Sequence[int]:
        """Return the numbers of at most so many images, spread evenly: folders lie one by one."""
        count = len(self.images)
        most = min(most, count)
        return [i * count // most for i in range(most)]


def read_calibration(
    samples: Iterable[Sample], transform: Transform, target: Target | None, tick: Tick
) -> tuple[Calibration, list[str]]:
    """Read images, and their classes where there is a target; say which ones failed, and why.

    Raises ConfigError where none is left.
    """
    images: list[Tensor] = []
    targets: list[int] = []
    failed: list[str] = []
    with ImageBatches(samples, transform, pixels=True) as batches:
        for batch in batches:
            found = iter(() if batch.images is None else batch.images)
            for item in batch.items:
                image, error = next(found) if item.ok else None, item.error
                try:
                    index = None if image is None or target is None else _index(target, item.path)
                except ConfigError as cause:
                    image, error = None, str(cause)
                if image is None:
                    failed.append(f"{item.path.name}: {error}")
                    continue
                images.append(image)
                targets += [] if index is None else [index]
            tick(len(batch.items))
    if not images:
        raise ConfigError(f"no image can be used; the first: {failed[0]}")
    classes = None if target is None else torch.tensor(targets)
    return Calibration(torch.stack(images), classes), failed


def _index(target: Target, sample: Sample) -> int:
    if sample.label is None:
        raise ConfigError("it has no label")
    return target(sample.label)
