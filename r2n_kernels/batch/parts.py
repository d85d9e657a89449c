"""A model takes any batch, but a bundle only those that it has code for: images are cut to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.bundled import BundledModel

if TYPE_CHECKING:
    from ..model.bundled import Model

USUAL = 8  # images at once on a CPU
MOST = 256  # on a GPU: more make it no faster
SHARE = 4  # one part in so many of a GPU's free memory is for a batch's activations


def batches_of(model: Model, images: int, height: int, width: int) -> tuple[int, ...]:
    """Return the batches that a bundle has code for in a size, smallest first; () if any will do.

    Raises BundleError where it has none, and Triton compiles none for so many images.
    """
    if not isinstance(model, BundledModel):
        return ()
    found = model.batches(height, width)
    if not found:
        model.plan(images, height, width)
    return found


def usual_batch(batches: Sequence[int], usual: int = USUAL) -> int:
    """Return the largest of the batches up to the usual one, or else the smallest."""
    return max((b for b in batches if b <= usual), default=min(batches, default=usual))


def device_batch(model: Model, height: int, width: int) -> int:
    """Return how many images at once suit the model's device: a GPU takes what its memory holds."""
    if model.device.type != "cuda":
        return USUAL
    free = torch.cuda.mem_get_info(model.device)[0]
    size = MOST
    while size > USUAL and model.plan(size, height, width).workspace_bytes > free / SHARE:
        size //= 2
    return size


def parts(x: Tensor, batches: Sequence[int]) -> Iterator[tuple[Tensor, int]]:
    """Cut x [N, ...] into such batches, the largest first, and yield each with its images.

    Behind the last images are zeros where no batch is as small. Without batches x stays whole.
    """
    start = 0
    while start < len(x):
        left = len(x) - start
        size = usual_batch(batches, left)
        part = x[start : start + size]
        if missing := size - len(part):
            part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
        yield part, size - missing
        start += size
