"""Classify and embed run images through a model, batch by batch, with progress.

A bundle takes just the batches that it has code for: images are cut and padded to those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import ImageBatches, Item, create_transform, resolve_model_data_config
from ..model.bundled import BundledModel
from ..text import counted
from .progress import progress
from .terminal import say

if TYPE_CHECKING:
    from ..model.bundled import Model

Row = tuple[Item, Tensor | None]
USUAL = 8  # images at once


class ImageRun:
    """An image run passes over images in input order, and counts those that failed."""

    def __init__(
        self, paths: Sequence[str], model: Model, apply: Callable[[Tensor], Tensor],
        batch_size: int | None = None,
    ) -> None:  # fmt: skip
        """`apply` maps a batch [N, C, H, W] to rows [N, ...]; None: as many images as is usual.

        Raises BundleError where a bundle has no code for the images' size.
        """
        self.paths, self.model, self.apply = paths, model, apply
        self.transform = create_transform(**resolve_model_data_config(model))
        self.batches = batches_of(model, batch_size or USUAL, *self.transform.input_size[1:])
        self.batch_size = batch_size or usual_batch(self.batches)
        self.done = self.failed = 0
        self.rate = 0.0  # images per second

    def rows(self, workers: int | None) -> Generator[Row, None, None]:
        """Yield every input with its row of apply(batch) (float32, CPU), or None if it failed.

        Close it when leaving early: that ends its threads and erases the progress bar.
        """
        start = time.monotonic()
        with (
            progress(len(self.paths), "img") as bar,
            ImageBatches(self.paths, self.transform, self.batch_size, workers) as batches,
        ):
            for batch in batches:
                output = iter(() if batch.images is None else self._forward(batch.images))
                with bar.external_write_mode():
                    for item in batch.items:
                        self.done += 1
                        self.failed += not item.ok
                        yield item, next(output) if item.ok else None
                    bar.update(len(batch.items))
        self.rate = self.done / (time.monotonic() - start)

    @torch.no_grad()
    def _forward(self, images: Tensor) -> Tensor:
        x = images.to(self.model.device, self.model.dtype)
        found = [self.apply(part)[:count].float().cpu() for part, count in parts(x, self.batches)]
        return torch.cat(found)

    def finish(self, args: argparse.Namespace) -> int:
        """Print the summary on standard error, and give the exit code."""
        ok = self.done - self.failed
        into = f", in {args.output}" if args.output else ""
        say(
            f"{counted(self.done, 'image')}: {ok} ok, {self.failed} failed,"
            f" {self.rate:.1f} img/s{into}"
        )
        return 1 if args.strict and self.failed else 0


def grouped(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Yield so many rows at once, and at the end those that are left."""
    while group := list(islice(rows, size)):
        yield group


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


def usual_batch(batches: Sequence[int]) -> int:
    """Return the largest of the batches up to the usual one, or else the smallest."""
    return max((b for b in batches if b <= USUAL), default=min(batches, default=USUAL))


def parts(x: Tensor, batches: Sequence[int]) -> Iterator[tuple[Tensor, int]]:
    """Cut x [N, ...] into such batches, the largest first, and yield each with its images.

    Behind the last images are zeros where no batch is as small. Without batches x stays whole.
    """
    start = 0
    while start < len(x):
        left = len(x) - start
        size = max((b for b in batches if b <= left), default=min(batches, default=left))
        part = x[start : start + size]
        if missing := size - len(part):
            part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
        yield part, size - missing
        start += size
