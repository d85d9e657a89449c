"""r2n features shows the feature maps of one image."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..text import Table, printable
from .arguments import add_loaded_model
from .progress import progress

if TYPE_CHECKING:
    from PIL import Image

EXAMPLES = """examples:
  r2n features cat.jpg
  r2n features cat.jpg --model res2net50d --output maps.safetensors

exit codes: 0 done; 2 wrong usage, image, model or weights; 130 stopped
"""
TABLE = Table([("index", ">5"), ("module", "<6"), ("reduction", ">9"), ("shape", "<0")], gap="  ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a file")
    add_loaded_model(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="also write the maps, feature_0, ...: .safetensors"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from ..batch.parts import batches_of, parts
    from ..data import create_transform, resolve_model_data_config
    from ..results import map_writer
    from .load import model_from

    with map_writer(args.output, [args.image]) if args.output else nullcontext() as write:
        image = _read(args.image, "RGB")  # before the model: it is the likelier one to be wrong
        model = model_from(args, features_only=True, num_classes=0)
        transform = create_transform(**resolve_model_data_config(model))
        if transform.mode != image.mode:
            image = _read(args.image, transform.mode)
        batches = batches_of(model, 1, *transform.input_size[1:])
        with progress(1, "img"), torch.no_grad():
            x = transform(image)[None].to(model.device, model.dtype)
            maps = [feature[:count] for part, count in parts(x, batches) for feature in model(part)]
        print(TABLE.head)
        for info, feature in zip(model.feature_info, maps, strict=True):
            shape = tuple(feature.shape)
            print(TABLE.line([info["index"], info["module"], info["reduction"], shape]))
        if write:
            write({f"feature_{index}": feature for index, feature in enumerate(maps)})
    return 0


def _read(path: str, mode: str) -> Image.Image:
    from ..data import read_image

    try:
        return read_image(path, mode)
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from error
