"""r2n features: the feature maps of one image."""

from __future__ import annotations

import argparse
import contextlib

import torch
from PIL import Image

from ..data import create_transform, read_image, resolve_model_data_config
from ..errors import ImageError
from ..results import MapWriter
from ..text import printable
from .load import model_from
from .options import add_model_arguments

HELP = "show the shapes of an image's feature maps"
EXAMPLES = """examples:
  r2n features cat.jpg
  r2n features cat.jpg --model res2net50d --output maps.safetensors

exit codes: 0 done; 2 wrong usage, image, model or weights; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a file")
    add_model_arguments(parser)
    parser.add_argument(
        "--output", metavar="FILE", help="also write the maps, feature_0, ...: .safetensors"
    )


def run(args: argparse.Namespace) -> int:
    with MapWriter(args.output) if args.output else contextlib.nullcontext() as writer:
        image = _read(args.image, "RGB")  # before the model: it is the likelier one to be wrong
        model = model_from(args, features_only=True, num_classes=0)
        transform = create_transform(**resolve_model_data_config(model))
        if transform.mode != image.mode:
            image = _read(args.image, transform.mode)
        x = transform(image)[None].to(model.device, model.dtype)
        with torch.no_grad():
            maps = model(x)
        print("index  module  reduction  shape")
        for info, feature in zip(model.feature_info, maps, strict=True):
            shape = tuple(feature.shape)
            print(f"{info['index']:5}  {info['module']:6}  {info['reduction']:9}  {shape}")
        if writer:
            writer.write({f"feature_{index}": feature for index, feature in enumerate(maps)})
    return 0


def _read(path: str, mode: str) -> Image.Image:
    try:
        return read_image(path, mode)
    except ImageError as error:
        raise ImageError(f"{printable(path)}: {error}") from error
