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
.safetensors, columns in .parquet, lines of FILE.rows.jsonl beside a .npy. It
appears when it is complete; until then, its rows are in FILE.partial.

exit codes:
  0 done; 1 with --strict if an image failed; 2 wrong usage, model or weights;
  130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_loaded_model(parser)
    parser.add_argument(
        "--output", metavar="FILE", required=True, help=".npz, .npy, .safetensors or .parquet"
    )


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from ..data import find_images
    from ..results import Output, Row
    from .batches import ImageRun, grouped
    from .load import model_from

    output = Output(args.output, "embeddings", inputs=args.paths)
    paths = find_images(args.paths)
    model = model_from(args, num_classes=0)
    images = ImageRun(
        paths, model, lambda x: model.outputs(x, (), ("embedding",))[0], args.batch_size
    )
    with (
        output.begin({}, batch_size=images.batch_size) as run,
        contextlib.closing(images.rows(args.workers)) as rows,
    ):
        for group in grouped(rows, images.batch_size):
            found = [row.numpy() for _, row in group if row is not None]
            written = [Row(item.path, item.error) for item, _ in group]
            run.write(written, np.stack(found) if found else None)
    return images.finish(args)
