"""r2n classify names the best classes of each image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..results import KeepsNothing
from ..text import Table, listed, printable, width
from .arguments import add_loaded_model, positive
from .preprocessing import add_preprocessing
from .reading import add_images
from .written import add_csv, add_resume

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..batch import Columns
    from ..data import Batch
    from ..results import Row
    from .batches import Block, Work

EXAMPLES = """examples:
  r2n classify cat.jpg dog.png
  r2n classify photos/ --output predictions.csv --batch-size 16
  r2n classify 'photos/**/*.jpg' --model res2net50d --dtype bfloat16 --strict
  r2n classify scans/ --model res2net50d --weights tuned.pth --num-classes 12
  r2n classify digit.png --model digits
  r2n classify photos/ --model model.r2n --device cuda
  r2n classify shards/*.tar --output predictions.parquet --resume
  r2n classify photos/ --ray auto --output predictions.parquet

An image that cannot be read is a row with status "error" and the reason.
FILE appears when it is complete; until then, its rows are in FILE.partial, and
--resume goes on behind them. A pipe, as /dev/stdout, gets them as they come:
JSON lines, or CSV by its suffix.

exit codes:
  0 done; 1 no image could be read, or with --strict one failed; 2 wrong usage,
  model or weights; 130 stopped
"""

Class = tuple[int, str | None, float]  # index, label, probability
PATH_COLUMNS = 44  # a longer path has a line of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add_preprocessing(parser)
    add, where = parser.add_argument, "of --weights, where no config.json states them"
    add("--num-classes", type=positive, metavar="N", help=where)
    add("--topk", type=positive, default=5, metavar="K", help="classes per row (default: 5)")
    add("--probabilities", action="store_true", help="of all classes, too: .parquet or .npz")
    add("--output", metavar="FILE", help=".jsonl, .csv or .parquet; default: a text table")
    add_resume(parser)
    add_csv(parser)
    add("--ray", metavar="ADDRESS", help="run on a Ray cluster: local, auto or ray://HOST:PORT")


def run(args: argparse.Namespace) -> int:
    from ..results import Output
    from .batches import take
    from .reading import inputs_from
    from .written import check_apart, check_resumable

    if args.num_classes and args.weights is None:
        raise ConfigError("--num-classes describes --weights; without them it must not be given")
    words = {
        "--probabilities": args.probabilities, "--resume": args.resume, "--bom": args.bom,
        "--names": args.names != "bytes", "--escape-formulas": args.escape_formulas,
    }  # fmt: skip
    if not args.output and any(words.values()):
        raise ConfigError(f"{listed([w for w, said in words.items() if said])}: needs --output")
    output = None
    if args.output:
        output = Output(
            args.output, "classes", topk=args.topk, inputs=args.paths,
            vectors="float32" if args.probabilities else None, names=args.names,
            escape_formulas=args.escape_formulas, bom=args.bom,
        )  # fmt: skip
    check_resumable(args, output)
    inputs = inputs_from(args)
    check_apart(args, inputs)
    work = _ray_work(args) if args.ray else _local_work(args)
    return take(args, inputs, work, output or TextTable())


def _local_work(args: argparse.Namespace) -> Work:
    from ..batch import Run, best, probabilities
    from .batches import LocalWork, rows_of
    from .load import model_from
    from .preprocessing import labels_from, prepare
    from .reading import feeding_from

    feeding = feeding_from(args)
    model = model_from(args, num_classes=args.num_classes)
    if model.num_classes == 0:
        raise ConfigError("this model has no classifier; use `r2n embed`")
    prepare(args, model)
    topk, labels = min(args.topk, model.num_classes), labels_from(args, model)

    def block_of(batch: Batch, found: Tensor | None) -> Block:
        tops = [] if found is None else [best(row, topk, labels) for row in found]
        vectors = found.numpy() if args.probabilities and found is not None else None
        return rows_of(batch, tops), vectors

    return LocalWork(Run(model, probabilities(model), args.batch_size), feeding, block_of, labels)


def _ray_work(args: argparse.Namespace) -> Work:
    from ..batch import Classifier
    from .batches import RayWork, good, rows_from
    from .load import function_options
    from .preprocessing import labels_from, prepare

    function = Classifier(
        topk=args.topk, probabilities=args.probabilities, num_classes=args.num_classes,
        **function_options(args),
    )  # fmt: skip
    model = function.run().model  # here, too: what it says of images and classes
    prepare(args, model)
    labels = labels_from(args, model)

    def block_of(columns: Columns) -> Block:
        vectors = good(columns, "probabilities") if args.probabilities else None
        return rows_from(columns, labels), vectors

    return RayWork(function, args.ray, block_of, labels)


class TextTable(KeepsNothing):
    """A text table prints rows on standard output, as wide as the paths of its first batch."""

    def _begin(self, rows: Sequence[Row]) -> None:
        widths = (width(printable(row.path)) for row in rows)
        self.columns = max(4, *(w for w in widths if w <= PATH_COLUMNS), 0)
        styles = (f"<{self.columns}", "<6", ">11", ">5", "<0")
        titles = ("path", "status", "probability", "index", "label")
        self.table = Table(list(zip(titles, styles, strict=True)), gap="  ")
        print(self.table.head)

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Print a batch."""
        if not hasattr(self, "table"):
            self._begin(rows)
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
