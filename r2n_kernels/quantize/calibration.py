"""Calibration images are held as bytes, with what the network should say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


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
