"""Images through a model, batch by batch, with progress: what classify and embed share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..data import (
    ImageBatches,
    Item,
    create_transform,
    find_images,
    resolve_model_data_config,
)
from ..model import Res2NetModel
from .progress import Progress


def run_images(
    args: argparse.Namespace, model: Res2NetModel, apply: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Item, Tensor | None]]:
    """Yield every input in order with its row of apply(batch) (float32, CPU), or None if it failed.

    Ends with a summary line on standard error.
    """
    paths = find_images(args.paths)
    transform = create_transform(**resolve_model_data_config(model))
    failed = 0
    with (
        Progress(len(paths)) as progress,
        ImageBatches(paths, transform, args.batch_size, args.workers) as batches,
    ):
        for batch in batches:
            rows = iter(())
            if batch.images is not None:
                with torch.no_grad():
                    output = apply(batch.images.to(model.device, model.dtype))
                rows = iter(output.float().cpu())
            for item in batch.items:
                failed += not item.ok
                yield item, next(rows) if item.ok else None
            progress.advance(len(batch.items))
        rate = progress.rate
    print(
        f"{len(paths)} images: {len(paths) - failed} ok, {failed} failed, {rate:.1f} img/s",
        file=sys.stderr,
    )


def exit_code(args: argparse.Namespace, failed: int) -> int:
    return 1 if args.strict and failed else 0
