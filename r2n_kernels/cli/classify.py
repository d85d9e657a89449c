"""r2n classify: the best classes of each image."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence

from torch import Tensor

from ..data import find_images, labels_for
from ..errors import ConfigError
from ..results import RowWriter
from ..text import printable
from .batches import ImageRun
from .load import model_from
from .options import add_batch_arguments, add_model_arguments, positive
from .text import padded, width

HELP = "classify images: one row per input, in input order"
EXAMPLES = """examples:
  r2n classify cat.jpg dog.png
  r2n classify photos/ --output predictions.csv --batch-size 16
  r2n classify 'photos/**/*.jpg' --model res2net50d --dtype bfloat16 --strict
  r2n classify scans/ --model res2net50d --weights tuned.pth --num-classes 12
  r2n classify digit.png --model digits

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
    add_batch_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        "--num-classes",
        type=positive,
        metavar="N",
        help="of --weights, where no config.json states them",
    )
    parser.add_argument(
        "--topk", type=positive, default=5, metavar="K", help="classes a row (default: 5)"
    )
    parser.add_argument("--output", metavar="FILE", help=".jsonl or .csv; default: a text table")


def run(args: argparse.Namespace) -> int:
    if args.num_classes and args.weights is None:
        raise ConfigError("--num-classes describes --weights; without them it must not be given")
    writer = RowWriter(args.output, args.topk) if args.output else None
    paths = find_images(args.paths)
    with writer or contextlib.nullcontext(TextTable(paths)) as sink:
        model = model_from(args, num_classes=args.num_classes)
        if model.num_classes == 0:
            raise ConfigError("this model has no classifier; use `r2n embed`")
        topk = min(args.topk, model.num_classes)
        labels = labels_for(model.pretrained_cfg, model.num_classes)
        images = ImageRun(paths, model, lambda x: model(x).float().softmax(dim=1))
        with contextlib.closing(images.rows(args.batch_size, args.workers)) as rows:
            for item, probabilities in rows:
                top = [] if probabilities is None else best(probabilities, topk, labels)
                sink.write(item.path, top, item.error)
    return images.finish(args)


def best(probabilities: Tensor, topk: int, labels: tuple[str, ...] | None) -> Top:
    """[num_classes] -> the likeliest classes."""
    values, indices = (t.tolist() for t in probabilities.topk(topk))
    names = [labels[i] if labels else None for i in indices]
    return list(zip(indices, names, values, strict=True))


class TextTable:
    """Rows as aligned text on standard output, the header before the first one."""

    def __init__(self, paths: Sequence[str]) -> None:
        widths = (width(printable(path)) for path in paths)
        self.columns = max(4, *(w for w in widths if w <= PATH_COLUMNS), 0)
        self.header = f"{'path':{self.columns}}  status  probability  index  label"

    def write(self, path: str, top: Top, error: str | None) -> None:
        if self.header:
            print(self.header)
            self.header = ""
        path = printable(path)
        if width(path) > self.columns:
            print(path)
            path = ""
        path = padded(path, self.columns)
        if error is not None:
            print(f"{path}  error   {printable(error)}")
        status = "ok"
        for index, label, probability in top:
            line = f"{path}  {status:6}  {probability:11.2%}  {index:5}  {printable(label or '')}"
            print(line.rstrip())
            path, status = " " * self.columns, ""
