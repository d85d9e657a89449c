"""r2n classify: the best classes of each image."""

from __future__ import annotations

import argparse
import contextlib

from torch import Tensor

from ..data import labels_for
from ..errors import ConfigError
from ..results import RowWriter
from .batches import exit_code, run_images
from .options import add_batch_arguments, add_model_arguments, model_from, positive

HELP = "classify images: one row per input, in input order"
EXAMPLES = """examples:
  r2n classify cat.jpg dog.png
  r2n classify photos/ --output predictions.csv --batch-size 16
  r2n classify 'photos/**/*.jpg' --model res2net50d --dtype bfloat16 --output out.jsonl --strict
  r2n classify scans/ --model res2net50_26w_4s --weights finetuned.pth --num-classes 12

exit codes: 0 done (failed images are rows with status "error"); 1 with --strict if an image
failed; 2 wrong usage, model or weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_batch_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--topk", type=positive, default=5, metavar="K")
    parser.add_argument("--output", metavar="FILE", help=".jsonl or .csv; default: a text table")


def run(args: argparse.Namespace) -> int:
    writer = RowWriter(args.output, args.topk) if args.output else None
    model = model_from(args)
    if model.num_classes == 0:
        raise ConfigError("this model has no classifier; use `r2n embed`")
    topk = min(args.topk, model.num_classes)
    labels = labels_for(model.pretrained_cfg, model.num_classes)
    failed = 0
    with writer or contextlib.nullcontext():
        for item, probabilities in run_images(args, model, lambda x: model(x).float().softmax(1)):
            top = [] if probabilities is None else _best(probabilities, topk, labels)
            failed += not item.ok
            if writer:
                writer.write(item.path, top, item.error)
            else:
                _show(str(item.path), top, item.error)
    return exit_code(args, failed)


def _best(
    probabilities: Tensor, topk: int, labels: tuple[str, ...] | None
) -> list[tuple[int, str | None, float]]:
    """[num_classes] -> the likeliest classes: index, label, probability."""
    values, indices = (t.tolist() for t in probabilities.topk(topk))
    names = [labels[i] if labels else None for i in indices]
    return list(zip(indices, names, values, strict=True))


def _show(path: str, top: list[tuple[int, str | None, float]], error: str | None) -> None:
    print(path if error is None else f"{path}\n  error: {error}")
    for index, label, probability in top:
        print(f"  {probability:7.2%}  {index:4}  {label or ''}")
