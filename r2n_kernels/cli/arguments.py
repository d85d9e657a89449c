"""Commands share these arguments, and types of arguments. Nothing here imports torch."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

from ..config import HEADLINE, MIN_SIZE, PRETRAINED_TAG
from ..errors import ConfigError
from ..kernels.targets import NVIDIA, TARGETS

# Names that modules which import torch define, too: tests/cli/test_arguments.py compares them.
DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("auto", "torch", "triton", "openvino", *(f"ptx:{name}" for name in NVIDIA))
LOADED = (*BACKENDS[:4], "bundle", *BACKENDS[4:])  # of a model that may be a bundle
SCHEDULES = ("auto", "throughput", "latency")
DEVICES = "cpu, cuda or cuda:N"
AUTO = "auto"  # a GPU if there is one
SEEDS = 2**63


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def seed(text: str) -> int:
    """Return a whole number that torch takes for a seed."""
    if not (text.isascii() and text.isdecimal() and int(text) < SEEDS):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got '{text}'")
    return int(text)


def number(wanted: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a type of argument: a number that fits; `wanted` says which those are."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if fits(float(text)):
                return float(text)
        raise argparse.ArgumentTypeError(f"expected {wanted}, got '{text}'")

    return read


def image_size(text: str) -> tuple[int, int]:
    """Return height and width in pixels of "224" or "160x192"."""
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected PX or HxW (224, 160x192), got '{text}'")
    height, width = int(parts[0]), int(parts[-1])
    if min(height, width) < MIN_SIZE:
        raise argparse.ArgumentTypeError(f"must be at least {MIN_SIZE}x{MIN_SIZE}, got '{text}'")
    return height, width


SHARED: dict[str, dict[str, Any]] = {
    "--backend": {
        "choices": BACKENDS,
        "default": "auto",
        "metavar": "NAME",
        "help": "auto, torch, triton, openvino, or ptx:ARCH as in ptx:sm_90, which runs compiled "
        "kernels in an emulator on the CPU (default: auto)",
    },
    "--batch": {
        "type": positive,
        "nargs": "+",
        "default": [1, 256],
        "metavar": "N",
        "help": "default: 1 256",
    },
    "--device": {"default": "cpu", "help": f"{DEVICES} (default: cpu)"},
    "--dtype": {"choices": DTYPES, "default": "float32", "help": "default: %(default)s"},
    "--jobs": {"type": positive, "metavar": "N", "help": "compilations at once (default: cores)"},
    "--json": {"metavar": "FILE", "help": "write the report there; - for standard output"},
    "--junit": {"metavar": "FILE", "help": "write it as JUnit's XML, too"},
    "--model": {
        "default": HEADLINE,
        "metavar": "NAME",
        "help": "of `r2n models` (default: %(default)s)",
    },
    "--schedule": {"choices": SCHEDULES, "default": "auto", "help": "default: auto, by the batch"},
    "--size": {
        "type": image_size,
        "default": (224, 224),
        "metavar": "PX|HxW",
        "help": "of the image (default: 224)",
    },
    "--target": {"choices": tuple(TARGETS), "metavar": "ARCH"},
    "--threads": {
        "type": positive,
        "metavar": "N",
        "help": "of the CPU (default: torch's choice)",
    },
}


def add_shared(parser: argparse.ArgumentParser, *names: str, **changes: Any) -> None:
    """Add shared arguments, all with the changes; call it once for each that has its own."""
    for name in names:
        parser.add_argument(name, **{**SHARED[name], **changes})


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add an argument for where compiled kernels are kept."""
    add = parser.add_argument
    add("--cache", metavar="DIR", help="default: r2n_kernels/aot in the user's cache folder")
    add("--no-cache", action="store_true", help="compile everything, and keep nothing")


def add_kernel_model(parser: argparse.ArgumentParser) -> None:
    """Add the model whose kernels are compiled: no weights are read."""
    named = "of `r2n models`, digits, or local-dir:PATH; its config alone (default: %(default)s)"
    add_shared(parser, "--model", help=named)


LOADABLE = (
    "a name of `r2n models`; digits (comes along, needs no network); hf-hub:org/repo@revision; or "
    "local-dir:PATH"
)


def add_loaded_model(parser: argparse.ArgumentParser) -> None:
    """Add the model that is loaded with its weights, and what runs it."""
    named = f"{LOADABLE}; or a bundle of `r2n build`, model.r2n (default: %(default)s)"
    add_shared(parser, "--model", default=f"{HEADLINE}.{PRETRAINED_TAG}", help=named)
    add_weights(parser)
    parser.add_argument("--sha256", metavar="HEX", help="of a bundle: any other file is refused")
    dtype = "arithmetic; float16 needs a GPU (default: float32; a bundle has its own)"
    add_shared(parser, "--dtype", default=None, help=dtype)
    backend = (
        "auto, torch, triton, openvino, bundle (a bundle's code and no other), or ptx:ARCH as in "
        "ptx:sm_90, which runs compiled kernels in an emulator on the CPU (default: auto)"
    )
    add_shared(parser, "--backend", choices=LOADED, help=backend)
    device = f"{AUTO}, {DEVICES} (default: {AUTO}, a GPU if there is one)"
    add_shared(parser, "--device", default=AUTO, help=device)


def add_weights(container: argparse._ActionsContainer) -> None:
    """Add arguments for whose weights a model has, to a parser or a group."""
    container.add_argument(
        "--weights",
        metavar="PATH",
        help="a checkpoint file, a folder or hf-hub:...; default: the model's own, which for a "
        "name of `r2n models` come from the Hugging Face Hub",
    )


def add_num_classes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-classes", type=positive, metavar="N",
        help="of --weights, where no config.json states them",
    )  # fmt: skip


def check_num_classes(args: argparse.Namespace) -> None:
    """Raise ConfigError where a model of its own weights would be given another classifier."""
    if args.num_classes and args.weights is None:
        raise ConfigError("--num-classes describes --weights; without them it must not be given")


def add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="run on a Ray cluster: local, auto or ray://HOST:PORT"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what a network runs with: a dtype, a backend and a device."""
    add_shared(parser, "--dtype", help="arithmetic; float16 needs a GPU (default: float32)")
    add_shared(parser, "--backend", "--device")
