"""Classify and embed run images through a model, batch by batch, with progress."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from torch import Tensor

from ..batch.run import Run
from ..data import Item
from ..text import counted
from .progress import progress
from .terminal import say

if TYPE_CHECKING:
    from ..model.bundled import Model

Row = tuple[Item, Tensor | None]


class ImageRun:
    """An image run passes over images in input order, and counts those that failed."""

    def __init__(
        self, paths: Sequence[str], model: Model, apply: Callable[[Tensor], Tensor],
        batch_size: int | None = None,
    ) -> None:  # fmt: skip
        """`apply` maps a batch [N, C, H, W] to rows [N, ...]; None: as many images as is usual.

        Raises BundleError where a bundle has no code for the images' size.
        """
        self.paths, self.run = paths, Run(model, apply, batch_size)
        self.done = self.failed = 0
        self.rate = 0.0  # images per second

    def rows(self, workers: int | None) -> Generator[Row, None, None]:
        """Yield every input with its row of apply(batch) (float32, CPU), or None if it failed.

        Close it when leaving early: that ends its threads and erases the progress bar.
        """
        start = time.monotonic()
        with (
            progress(len(self.paths), "img") as bar,
            contextlib.closing(self.run.batches(self.paths, workers)) as batches,
        ):
            for batch, found in batches:
                output = iter(() if found is None else found)
                with bar.external_write_mode():
                    for item in batch.items:
                        self.done += 1
                        self.failed += not item.ok
                        yield item, next(output) if item.ok else None
                    bar.update(len(batch.items))
        self.rate = self.done / (time.monotonic() - start)

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
