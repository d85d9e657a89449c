"""r2n classify names the best classes of each image."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..text import Table, printable, width
from .arguments import add_images, add_loaded_model, positive

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """examples:
  r2n classify cat.jpg dog.png
  r2n classify photos/ --output predictions.csv --batch-size 16
  r2n classify 'photos/**/*.jpg' --model res2net50d --dtype bfloat16 --strict
  r2n classify scans/ --model res2net50d --weights tuned.pth --num-classes 12
  r2n classify digit.png --model digits
  r2n classify photos/ --model model.r2n --device cuda

An image that cannot be read is a row with status "error" and the reason.
FILE appears when it is complete; a run that is stopped keeps its rows in
FILE.partial.

exit codes:
  0 done; 1 with --strict if an image failed; 2 wrong usage, model or weights;
  130 stopped
"""

Top = list[tuple[int, str | None, float]]  # index, label, probability; best first
PATH_COLUMNS = 44  # a longer path has a line of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add, where = parser.add_argument, "of --weights, where no config.json states them"
    add("--num-classes", type=positive, metavar="N", help=where)
    add("--topk", type=positive, default=5, metavar="K", help="classes per row (default: 5)")
    add("--output", metavar="FILE", help=".jsonl or .csv; default: a text table")


def run(args: argparse.Namespace) -> int:
    from ..data import find_images
    from ..results import RowWriter
    from .batches import ImageRun
    from .load import labels_of, model_from

    if args.num_classes and args.weights is None:
        raise ConfigError("--num-classes describes --weights; without them it must not be given")
    writer = RowWriter(args.output, args.topk) if args.output else None
    paths = find_images(args.paths)
    with writer or contextlib.nullcontext(TextTable(paths)) as sink:
        model = model_from(args, num_classes=args.num_classes)
        if model.num_classes == 0:
            raise ConfigError("this model has no classifier; use `r2n embed`")
        topk = min(args.topk, model.num_classes)
        labels = labels_of(model)
        images = ImageRun(paths, model, lambda x: model(x).float().softmax(dim=1), args.batch_size)
        with contextlib.closing(images.rows(args.workers)) as rows:
            for item, probabilities in rows:
                top = [] if probabilities is None else best(probabilities, topk, labels)
                sink.write(item.path, top, item.error)
    return images.finish(args)


def best(probabilities: Tensor, topk: int, labels: tuple[str, ...] | None) -> Top:
    """Return the likeliest classes of probabilities [num_classes]."""
    values, indices = (t.tolist() for t in probabilities.topk(topk))
    names = [labels[i] if labels else None for i in indices]
    return list(zip(indices, names, values, strict=True))


class TextTable:
    """A text table prints rows on standard output, its titles before the first one."""

    def __init__(self, paths: Sequence[str]) -> None:
        widths = (width(printable(path)) for path in paths)
        self.columns = max(4, *(w for w in widths if w <= PATH_COLUMNS), 0)
        styles = (f"<{self.columns}", "<6", ">11", ">5", "<0")
        titles = ("path", "status", "probability", "index", "label")
        self.table = Table(list(zip(titles, styles, strict=True)), gap="  ")
        self.empty = True

    def write(self, path: str, top: Top, error: str | None) -> None:
        if self.empty:
            print(self.table.head)
            self.empty = False
        path = printable(path)
        if width(path) > self.columns:
            print(path)
            path = ""
        if error is not None:
            print(f"{self.table.line([path, 'error'])}   {printable(error)}")
        status = "ok"
        for index, label, probability in top:
            print(
                self.table.line([path, status, f"{probability:.2%}", index, printable(label or "")])
            )
            path, status = "", ""
