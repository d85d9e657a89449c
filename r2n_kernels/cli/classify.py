"""r2n classify names the best classes of each image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..text import listed
from .arguments import add_loaded_model, add_num_classes, add_ray, check_num_classes, positive
from .preprocessing import add_preprocessing
from .reading import add_images
from .written import add_csv, add_resume

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import Columns
    from ..data import Batch
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add_preprocessing(parser)
    add_num_classes(parser)
    add = parser.add_argument
    add("--topk", type=positive, default=5, metavar="K", help="classes per row (default: 5)")
    add("--probabilities", action="store_true", help="of all classes, too: .parquet or .npz")
    add("--output", metavar="FILE", help=".jsonl, .csv or .parquet; default: a text table")
    add_resume(parser)
    add_csv(parser)
    add_ray(parser)


def run(args: argparse.Namespace) -> int:
    from ..results import Output
    from .batches import take
    from .reading import inputs_from
    from .table import TextTable
    from .written import check_apart, check_resumable

    check_num_classes(args)
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
