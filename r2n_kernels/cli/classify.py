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

    from ..data import Item
    from ..results import Row

EXAMPLES = """examples:
  r2n classify cat.jpg dog.png
  r2n classify photos/ --output predictions.csv --batch-size 16
  r2n classify 'photos/**/*.jpg' --model res2net50d --dtype bfloat16 --strict
  r2n classify scans/ --model res2net50d --weights tuned.pth --num-classes 12
  r2n classify digit.png --model digits
  r2n classify photos/ --model model.r2n --device cuda

An image that cannot be read is a row with status "error" and the reason.
FILE appears when it is complete; until then, its rows are in FILE.partial. A
pipe, as /dev/stdout, gets them as they come: JSON lines, or CSV by its suffix.

exit codes:
  0 done; 1 with --strict if an image failed; 2 wrong usage, model or weights;
  130 stopped
"""

Class = tuple[int, str | None, float]  # index, label, probability
PATH_COLUMNS = 44  # a longer path has a line of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add, where = parser.add_argument, "of --weights, where no config.json states them"
    add("--num-classes", type=positive, metavar="N", help=where)
    add("--topk", type=positive, default=5, metavar="K", help="classes per row (default: 5)")
    add("--output", metavar="FILE", help=".jsonl, .csv or .parquet; default: a text table")


def run(args: argparse.Namespace) -> int:
    from ..data import find_images
    from ..results import Output
    from .batches import ImageRun, grouped
    from .load import labels_of, model_from

    if args.num_classes and args.weights is None:
        raise ConfigError("--num-classes describes --weights; without them it must not be given")
    output = None
    if args.output:
        output = Output(args.output, "classes", topk=args.topk, inputs=args.paths)
    paths = find_images(args.paths)
    model = model_from(args, num_classes=args.num_classes)
    if model.num_classes == 0:
        raise ConfigError("this model has no classifier; use `r2n embed`")
    topk = min(args.topk, model.num_classes)
    labels = labels_of(model)
    images = ImageRun(paths, model, lambda x: model(x).float().softmax(dim=1), args.batch_size)
    with (
        output.begin({}, batch_size=images.batch_size)
        if output
        else contextlib.nullcontext(TextTable(paths)) as sink,
        contextlib.closing(images.rows(args.workers)) as rows,
    ):
        for group in grouped(rows, images.batch_size):
            sink.write([row_of(*row, topk, labels) for row in group])
    return images.finish(args)


def row_of(
    item: Item, probabilities: Tensor | None, topk: int, labels: tuple[str, ...] | None
) -> Row:
    """Return an input's row: its best classes, or what was wrong with it."""
    from ..results import Row

    top = [] if probabilities is None else best(probabilities, topk, labels)
    return Row(item.path, item.error, top)


def best(probabilities: Tensor, topk: int, labels: tuple[str, ...] | None) -> list[Class]:
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

    def write(self, rows: Sequence[Row]) -> None:
        if self.empty:
            print(self.table.head)
            self.empty = False
        for row in rows:
            self._print(printable(row.path), row.top, row.error)

    def _print(self, path: str, top: Sequence[Class], error: str | None) -> None:
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
