"""Arguments that several commands share, and the model that they describe."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from ..config import HEADLINE, PRETRAINED_TAG
from ..engine import BACKENDS
from ..factory import create_model
from ..model import Res2NetModel

DTYPES = ("float32", "bfloat16", "float16")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=f"{HEADLINE}.{PRETRAINED_TAG}",
        metavar="NAME",
        help="a name of `r2n models`, hf-hub:org/repo@revision or local-dir:PATH "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help="a checkpoint file, a folder or hf-hub:...; default: the model's own, from the Hub",
    )
    parser.add_argument("--num-classes", type=int, metavar="N", help="classes of --weights")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")


def add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image, folder or glob pattern")
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads that read images")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 if an image could not be read"
    )


def model_from(args: argparse.Namespace, **kwargs: Any) -> Res2NetModel:
    """The model that the arguments describe, with its weights."""
    if kwargs.get("num_classes") is None:
        kwargs["num_classes"] = args.num_classes
    return create_model(
        args.model,
        pretrained=args.weights is None,
        checkpoint=args.weights,
        backend=args.backend,
        dtype=getattr(torch, args.dtype),
        device=args.device,
        **kwargs,
    )
