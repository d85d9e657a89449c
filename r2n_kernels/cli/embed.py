"""r2n embed: an embedding of each image."""

from __future__ import annotations

import argparse

from ..results import EmbeddingWriter
from .batches import exit_code, run_images
from .options import add_batch_arguments, add_model_arguments, model_from

HELP = "write an embedding (pooled features) of each image, in input order"
EXAMPLES = """examples:
  r2n embed photos/ --output embeddings.npz
  r2n embed photos/ extra.png --model res2net50d --dtype bfloat16 --output out.safetensors

the file holds `embeddings` [N, D] in float32 (NaN where an image failed) and per row its path,
status and error: arrays of the .npz, JSON lists in the metadata of the .safetensors

exit codes: 0 done; 1 with --strict if an image failed; 2 wrong usage, model or weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_batch_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--output", metavar="FILE", required=True, help=".npz or .safetensors")


def run(args: argparse.Namespace) -> int:
    writer = EmbeddingWriter(args.output)
    model = model_from(args, num_classes=0)
    failed = 0
    with writer:
        for item, embedding in run_images(args, model, model):
            failed += not item.ok
            writer.write(item.path, embedding, item.error)
    return exit_code(args, failed)
