"""Classify and embed run images through a model, batch by batch, with progress."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import ImageBatches, Item, create_transform, resolve_model_data_config
from ..text import counted
from .progress import progress
from .terminal import say

if TYPE_CHECKING:
    from ..model.bundled import Model

Row = tuple[Item, Tensor | None]


class ImageRun:
    """An image run passes over images in input order, and counts those that failed."""

    def __init__(
        self, paths: Sequence[str], model: Model, apply: Callable[[Tensor], Tensor]
    ) -> None:
        """`apply` maps a batch [N, C, H, W] to rows [N, ...]."""
        self.paths, self.model, self.apply = paths, model, apply
        self.transform = create_transform(**resolve_model_data_config(model))
        self.done = self.failed = 0
        self.rate = 0.0  # images per second

    def rows(self, batch_size: int, workers: int | None) -> Generator[Row, None, None]:
        """Yield every input with its row of apply(batch) (float32, CPU), or None if it failed.

        Close it when leaving early: that ends its threads and erases the progress bar.
        """
        start = time.monotonic()
        with (
            progress(len(self.paths), "img") as bar,
            ImageBatches(self.paths, self.transform, batch_size, workers) as batches,
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
        return self.apply(images.to(self.model.device, self.model.dtype)).float().cpu()

    def finish(self, args: argparse.Namespace) -> int:
        """Print the summary on standard error, and give the exit code."""
        ok = self.done - self.failed
        into = f", in {args.output}" if args.output else ""
        say(
            f"{counted(self.done, 'image')}: {ok} ok, {self.failed} failed,"
            f" {self.rate:.1f} img/s{into}"
        )
        return 1 if args.strict and self.failed else 0
