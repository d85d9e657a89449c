"""r2n embed writes an embedding of each image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .arguments import add_loaded_model, add_ray
from .preprocessing import add_preprocessing
from .reading import add_images
from .written import DTYPES, add_resume

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import Columns
    from ..data import Batch
    from .batches import Block, Work

EXAMPLES = """examples:
  r2n embed photos/ --output embeddings.npz
  r2n embed photos/ extra.png --model res2net50d --output out.safetensors
  r2n embed photos/ --model model.r2n --device cuda --output embeddings.npz
  r2n embed 's3://bucket/shards/*.tar' --vectors float16 --output out.parquet

FILE holds `embeddings` [N, D] in float32 (NaN where an image failed), and per
row its path, status and error: arrays in .npz, JSON lists in the metadata of
.safetensors, columns in .parquet, lines of FILE.rows.jsonl beside a .npy. It
appears when it is complete; until then, its rows are in FILE.partial, and
--resume goes on behind them.

exit codes:
  0 done; 1 no image could be read, or with --strict one failed; 2 wrong usage,
  model or weights; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    add_preprocessing(parser)
    add = parser.add_argument
    add("--vectors", choices=DTYPES, default=DTYPES[0], help="as written (default: float32)")
    add("--output", metavar="FILE", required=True, help=".npz, .npy, .safetensors or .parquet")
    add_resume(parser)
    add_ray(parser)


def run(args: argparse.Namespace) -> int:
    from ..results import Output
    from .batches import take
    from .reading import inputs_from
    from .written import check_apart, check_resumable

    if args.class_map:
        raise ConfigError("--class-map names classes, and an embedding has none")
    output = Output(args.output, "embeddings", vectors=args.vectors, inputs=args.paths)
    check_resumable(args, output)
    inputs = inputs_from(args)
    check_apart(args, inputs)
    return take(args, inputs, _ray_work(args) if args.ray else _local_work(args), output)


def _local_work(args: argparse.Namespace) -> Work:
    from ..batch import Run, embeddings
    from .batches import LocalWork, rows_of
    from .load import model_from
    from .preprocessing import prepare
    from .reading import feeding_from

    feeding = feeding_from(args)
    model = model_from(args, num_classes=0)
    prepare(args, model)

    def block_of(batch: Batch, found: Tensor | None) -> Block:
        return rows_of(batch), None if found is None else found.numpy()

    return LocalWork(Run(model, embeddings(model), args.batch_size), feeding, block_of)


def _ray_work(args: argparse.Namespace) -> Work:
    from ..batch import Embedder
    from .batches import RayWork, good, rows_from
    from .load import function_options
    from .preprocessing import prepare

    def block_of(columns: Columns) -> Block:
        return rows_from(columns), good(columns, "embedding")

    function = Embedder(**function_options(args))  # in float32: what is too large for less is told
    prepare(args, function.run().model)  # here, too: it warns
    return RayWork(function, args.ray, block_of)
