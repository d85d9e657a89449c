"""r2n build compiles a network once, into one file that runs without Triton."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import HEADLINE, PRETRAINED_TAG, Res2NetConfig, pool_kind
from ..errors import ConfigError
from ..kernels.targets import NVIDIA, TARGETS
from ..names import BUNDLE, is_bundle
from ..text import counted
from .arguments import (
    LOADABLE,
    add_cache,
    add_num_classes,
    add_shared,
    add_weights,
    check_num_classes,
    image_size,
)
from .bundled import expand
from .inspect import cache_of, compiling
from .output import check_output
from .terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundle.manifest import Manifest
    from ..compiled.bundling import Contents
    from ..compiled.instances import Request

EXAMPLES = """examples:
  r2n build --target sm_80 sm_90 --batch 1 8 32 256 -o model.r2n
  r2n build digits --target sm_90 --batch 1 8 -o digits.r2n
  r2n build res2net50d --weights tuned.pth --target sm_80 -o tuned.r2n
  r2n build --no-weights --target sm_90 --size 224 160x192 -o code.r2n

Needs Triton and no GPU, for float16 neither. The same words and versions make
the same bytes. The file is for `--model model.r2n` of other commands, for
`r2n inspect model.r2n` and `create_model("model.r2n")`; docs/bundles.md says
on which GPUs it runs, and what loading one trusts.

exit codes:
  0 built; 1 built, and the proof found a fault; 2 wrong usage, model or
  weights, or a kernel does not compile; 130 stopped
"""
BATCHES = (1, 8, 32, 256)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", metavar="NAME", default=f"{HEADLINE}.{PRETRAINED_TAG}",
        help=f"{LOADABLE} (default: %(default)s)")  # fmt: skip
    weights = parser.add_mutually_exclusive_group()
    add_weights(weights)
    weights.add_argument("--no-weights", action="store_true",
        help="leave them to whoever loads the file, which is then small")  # fmt: skip
    add_num_classes(parser)
    add_shared(parser, "--target", nargs="+", choices=NVIDIA, required=True,
        help=f"of {', '.join(NVIDIA)}")  # fmt: skip
    add_shared(parser, "--dtype", default="float16")
    batches = " ".join(map(str, BATCHES))
    add_shared(parser, "--batch", default=list(BATCHES), help=f"default: {batches}")
    add("--size", type=image_size, nargs="+", metavar="PX|HxW",
        help="of the images (default: what the model's own are resized to)")  # fmt: skip
    add("--output", "-o", metavar=f"FILE{BUNDLE}", required=True, help="the bundle")
    add("--no-proof", action="store_true", help="do not run the code in the emulator")
    add("--candidates", action="store_true",
        help="also compile other tiles of every geometry, for `r2n tune --code`")  # fmt: skip
    add_shared(parser, "--schedule", "--jobs")
    add_cache(parser)


def run(args: argparse.Namespace) -> int:
    check_arguments(args)
    from ..compiled.bundling import SETTINGS, build
    from ..compiled.pool import Pool

    cache, start = cache_of(args, **SETTINGS), time.perf_counter()
    config, cfg, state = network_of(args)
    contents = contents_of(args, config, cfg, state)
    requests = requests_of(args, config, cfg)
    with compiling() as told, Pool(args.jobs or os.cpu_count() or 1, SETTINGS) as pool:
        manifest = build(
            args.output, contents, requests, pool, cache, candidates=args.candidates,
            started=told["started"], done=told["done"],
        )  # fmt: skip
    faults = 0 if args.no_proof else proven(args, state)
    print(report(args.output, manifest, time.perf_counter() - start))
    return 1 if faults else 0


def proven(args: argparse.Namespace, state: dict[str, Tensor] | None) -> int:
    """Prove what was built, print what is proven, and count faults."""
    from .prove import prove_file
    from .prove import report as report_proof

    proof = prove_file(args.output, args.jobs, state)
    report_proof(proof)
    return len(proof.faults)


def check_arguments(args: argparse.Namespace) -> None:
    """Raise ConfigError, before the work, for what cannot become a bundle."""
    if not is_bundle(args.output):
        raise ConfigError(f"--output {args.output!r}: the suffix of a bundle is {BUNDLE}")
    check_output("--output", args.output, [args.weights])
    if is_bundle(args.model):
        raise ConfigError(f"{args.model} is a bundle already")
    check_num_classes(args)
    try:
        from ..kernels.versions import missing_fence, require_triton

        require_triton()
    except ImportError as error:
        raise ConfigError(f"r2n build needs Triton: {error}") from error
    for target in dict.fromkeys(args.target):
        if missing := missing_fence(TARGETS[target]):
            say(f"r2n: warning: {missing}")


def network_of(
    args: argparse.Namespace,
) -> tuple[Res2NetConfig, dict[str, Any], dict[str, Tensor] | None]:
    """Return the config, the pretrained_cfg, and the weights where they are wanted.

    Raises ConfigError for a network that does not end in a mean and a classifier or none, and
    create_model's errors.
    """
    from ..create import architecture_of, create_model
    from .load import in_terms_of_options

    state: dict[str, Tensor] | None = None
    with in_terms_of_options(args.model):
        if args.no_weights:
            config, cfg = architecture_of(expand(args.model))
        else:
            model = create_model(
                expand(args.model), pretrained=args.weights is None, checkpoint=args.weights,
                num_classes=args.num_classes, backend="torch",
            )  # fmt: skip
            config, cfg, state = model.config, model.pretrained_cfg, model.state_dict()
    if pool_kind(config.global_pool) != "avg":
        raise ConfigError(
            f"a bundle pools by the mean, {args.model} has global_pool '{config.global_pool}'"
        )
    return config.replace(global_pool="avg"), cfg, state


def contents_of(
    args: argparse.Namespace, config: Res2NetConfig, cfg: dict[str, Any],
    state: dict[str, Tensor] | None,
) -> Contents:  # fmt: skip
    """Return what goes into the bundle beside code: the weights packed, the classes' names."""
    import torch

    from ..compiled.bundling import Contents
    from ..data import labels_for
    from ..engine.kernel_backend import pack

    packed = None if state is None else pack(config, state, getattr(torch, args.dtype))[1]
    labels = labels_for(cfg, config.num_classes) if config.num_classes else None
    if args.size and len(set(args.size)) == 1:  # then images are resized to just this
        cfg = {**cfg, "input_size": (config.in_chans, *args.size[0])}
        cfg.pop("test_input_size", None)
    return Contents(args.model, cfg, labels, packed)


def requests_of(
    args: argparse.Namespace, config: Res2NetConfig, cfg: dict[str, Any]
) -> list[Request]:
    """Return the forward passes. Raises ConfigError where nobody says of which size."""
    import torch

    from ..compiled.bundling import requests_for

    if not (args.size or cfg.get("input_size")):
        raise ConfigError(f"{args.model} does not state the size of its images: pass --size")
    sizes = args.size or [tuple(cfg["input_size"][1:])]
    dtype = getattr(torch, args.dtype)
    return requests_for(config, dtype, args.target, args.batch, sizes, args.schedule)


def report(path: str, manifest: Manifest, seconds: float) -> str:
    """Return the closing lines: what was built, and the hash that pins it."""
    from ..weights.files import sha256_of

    size, codes = Path(path).stat().st_size, counted(len(manifest.codes), "kernel")
    targets = ", ".join(manifest.targets)
    line = f"{path}: {size / 1e6:.1f} MB, {codes} for {targets}; {seconds:.1f} s"
    return f"{line}\nSHA-256 {sha256_of(Path(path))}"
