"""r2n embed writes an embedding of each image."""

from __future__ import annotations

import argparse
import contextlib

from .arguments import add_images, add_loaded_model

EXAMPLES = """examples:
  r2n embed photos/ --output embeddings.npz
  r2n embed photos/ extra.png --model res2net50d --output out.safetensors
  r2n embed photos/ --model model.r2n --device cuda --output embeddings.npz

FILE holds `embeddings` [N, D] in float32 (NaN where an image failed), and per
row its path, status and error: arrays in .npz, JSON lists in the metadata of
.safetensors. It appears when it is complete; a run that is stopped keeps its
rows in FILE.partial.

exit codes:
  0 done; 1 with --strict if an image failed; 2 wrong usage, model or weights;
  130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    parser.add_argument("--output", metavar="FILE", required=True, help=".npz or .safetensors")


def run(args: argparse.Namespace) -> int:
    from ..data import find_images
    from ..results import EmbeddingWriter
    from .batches import ImageRun
    from .load import model_from

    writer = EmbeddingWriter(args.output)
    paths = find_images(args.paths)
    with writer:
        model = model_from(args, num_classes=0)
        images = ImageRun(
            paths, model, lambda x: model.outputs(x, (), ("embedding",))[0], args.batch_size
        )
        with contextlib.closing(images.rows(args.workers)) as rows:
            for item, embedding in rows:
                writer.write(item.path, embedding, item.error)
    return images.finish(args)
