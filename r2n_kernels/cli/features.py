"""r2n features: the feature maps of one image."""

from __future__ import annotations

import argparse

import torch

from ..data import create_transform, read_image, resolve_model_data_config
from .options import add_model_arguments, model_from

HELP = "show the shapes of an image's feature maps"
EXAMPLES = """examples:
  r2n features cat.jpg
  r2n features cat.jpg --model res2net50d --output maps.safetensors

exit codes: 0 done; 2 wrong usage, image, model or weights
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE")
    add_model_arguments(parser)
    parser.add_argument("--output", metavar="FILE", help="also write the maps: .safetensors")


def run(args: argparse.Namespace) -> int:
    model = model_from(args, features_only=True)
    transform = create_transform(**resolve_model_data_config(model))
    image = transform(read_image(args.image, transform.mode))
    with torch.no_grad():
        maps = model(image[None].to(model.device, model.dtype))
    print("index  module  reduction  shape")
    for info, feature in zip(model.feature_info, maps, strict=True):
        print(
            f"{info['index']:5}  {info['module']:6}  {info['reduction']:9}  {tuple(feature.shape)}"
        )
    if args.output:
        _save(args.output, maps)
    return 0


def _save(path: str, maps: list[torch.Tensor]) -> None:
    from safetensors.torch import save_file

    from ..errors import ConfigError

    if not path.endswith(".safetensors"):
        raise ConfigError(f"cannot write '{path}': its suffix must be .safetensors")
    save_file({f"feature_{i}": m.cpu().contiguous() for i, m in enumerate(maps)}, path)
