"""Arguments that several commands share."""

from __future__ import annotations

import argparse

import torch

from ..config import HEADLINE, MIN_SIZE, PRETRAINED_TAG
from ..engine import BACKENDS, EMULATED
from ..errors import ConfigError

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = "cpu, cuda or cuda:N"


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """ "224" or "160x192" -> height, width in pixels."""
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected PX or HxW (224, 160x192), got '{text}'")
    height, width = int(parts[0]), int(parts[-1])
    if min(height, width) < MIN_SIZE:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_SIZE}x{MIN_SIZE}, got '{text}'")
    return height, width


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=f"{HEADLINE}.{PRETRAINED_TAG}",
        metavar="NAME",
        help="a name of `r2n models`; digits (bundled, needs no network); "
        "hf-hub:org/repo@revision; or local-dir:PATH (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help="a checkpoint file, a folder or hf-hub:...; default: the model's own, which for a "
        "name of `r2n models` come from the Hugging Face Hub",
    )
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="arithmetic; float16 needs a GPU (default: float32)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        metavar="NAME",
        help="auto, torch, triton, or ptx:ARCH as in ptx:sm_90, which runs compiled kernels in an "
        "emulator on the CPU (default: auto)",
    )
    parser.add_argument("--device", default="cpu", help=f"{DEVICES} (default: cpu)")


def add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="an image; a folder, searched with its subfolders; or a quoted glob pattern, where "
        "** is any depth",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="images at once (default: 8)"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="threads that read images (default: cores)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 if an image could not be read"
    )


def precision_from(args: argparse.Namespace) -> tuple[torch.dtype, torch.device]:
    """The dtype and device of the arguments.

    Raises ConfigError for a device that is not there or not known, and float16 on the CPU, where
    only the Triton backend's interpreter and the emulator run it.
    """
    dtype, device = getattr(torch, args.dtype), device_from(args.device)
    interprets = args.backend in ("triton", *EMULATED)
    if dtype == torch.float16 and device.type == "cpu" and not interprets:
        raise ConfigError("--dtype float16 needs a GPU; on the CPU use float32 or bfloat16")
    return dtype, device


def device_from(text: str) -> torch.device:
    """Raises ConfigError for a device that is not there or not known."""
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise ConfigError(f"--device: expected {DEVICES}, got '{text}'") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device: expected {DEVICES}, got '{text}'")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(f"--device {text}: torch finds {count or 'no'} CUDA GPU here")
    return device
