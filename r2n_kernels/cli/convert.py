"""r2n convert writes weights, and how their images are prepared, into a folder of timm's format."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .arguments import LOADABLE, add_shared, add_weights
from .preprocessing import add_preprocessing, is_bare, prepare
from .terminal import say

if TYPE_CHECKING:
    from ..model import Res2NetModel

EXAMPLES = """examples:
  r2n convert --model res2net50d --weights tuned.pth --output tuned
  r2n convert --weights w.pth --img-size 320 --class-map names.txt --output out

FOLDER holds config.json and model.safetensors (float32), as timm writes them:
timm.create_model("local-dir:FOLDER", pretrained=True) and this package read
both, and prepare images as the options said. Then:
r2n classify photos/ --model local-dir:FOLDER

exit codes: 0 done; 2 wrong usage, model or weights; 130 stopped
"""
# What a variant's published checkpoint says of itself alone.
PUBLISHED = ("license", "origin_url", "paper_name", "paper_ids", "notes", "description")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--model", help=f"{LOADABLE} (default: %(default)s)")
    add_weights(parser)
    add_preprocessing(parser)
    parser.add_argument("--output", metavar="FOLDER", required=True, help="a new one")


def run(args: argparse.Namespace) -> int:
    from ..create import save_folder

    model, config = described_model(args)
    save_folder(model, args.output)
    height, width = config["input_size"][1:]
    architecture, classes = model.pretrained_cfg["architecture"], model.num_classes
    say(f"{args.output}: {architecture}, {classes} classes, {height}x{width} px")
    return 0


def described_model(args: argparse.Namespace) -> tuple[Res2NetModel, dict[str, Any]]:
    """Return the model that options name, on PyTorch, and how its images are prepared.

    Its pretrained_cfg says so, too, and what is true of these weights. Raises ConfigError for a
    bundle, and create_model's errors.
    """
    from ..create import create_model
    from ..data.labels import is_imagenet
    from ..model import Res2NetModel
    from ..names import is_bundle
    from .bundled import expand
    from .load import in_terms_of_options

    if is_bundle(args.model):
        raise ConfigError(f"{args.model} is a bundle, whose weights are packed for kernels")
    with in_terms_of_options(args.model):
        model = create_model(
            expand(args.model), pretrained=args.weights is None, checkpoint=args.weights,
            backend="torch",
        )  # fmt: skip
    assert isinstance(model, Res2NetModel)  # no bundle
    config = prepare(args, model)
    cfg = model.pretrained_cfg
    if is_bare(args):
        unsaid = (*PUBLISHED, *(() if is_imagenet(cfg, model.num_classes) else ("tag",)))
        for key in unsaid:
            cfg.pop(key, None)
    return model, config
