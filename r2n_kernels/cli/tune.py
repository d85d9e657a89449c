"""r2n tune measures tiles on this machine's GPU and keeps those that beat the rules."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from ..config import VARIANTS, Res2NetConfig, variant_name
from ..errors import ConfigError
from .arguments import add_shared
from .output import check_output
from .progress import progress

if TYPE_CHECKING:
    import torch

    from ..bundle.manifest import Code
    from ..proof.tune import Measurement

EXAMPLES = """examples:
  r2n tune
  r2n tune --batch 1 32 256 --dtype bfloat16 --output tiles.json
  r2n tune --code tiles.r2n

Every geometry compiles and times a dozen tiles or more. The table is complete
after every line: stop when you like, and run again for another model, batch or
GPU; what was measured before is kept. To use it:

  tiles = load_tiles("tiles.json", torch.cuda.get_device_name())
  create_model(..., device="cuda", triton=TritonOptions(tiles=tiles))

--code times what `r2n build --no-weights --candidates` compiled, the rules'
tiles and their neighbours: whatever Triton is here, which then only keeps the
clock, and without the minutes that compiling takes. Model, batches, size and
dtype are the bundle's.

exit codes: 0 done; 2 no GPU, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--model", "--batch", "--size")
    add_shared(parser, "--dtype", default="float16")
    add_shared(parser, "--device", default="cuda", help="cuda or cuda:N (default: cuda)")
    parser.add_argument("--code", metavar="FILE", help="a bundle whose tiles are timed")
    parser.add_argument("--sha256", metavar="HEX", help="of the bundle; another one is refused")
    parser.add_argument(
        "--output", default="tiles.json", metavar="FILE", help="the table (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from .load import precision_from

    config = VARIANTS[variant_name(args.model)]
    check_output("--output", args.output, [args.code])
    if not torch.cuda.is_available():
        raise ConfigError("r2n tune measures on a GPU, and torch finds none here")
    dtype, device = precision_from(args.dtype, args.device, "triton")
    if args.sha256 and not args.code:
        raise ConfigError("--sha256 is of --code")
    if device.type != "cuda":
        raise ConfigError(f"r2n tune measures on a GPU, the device is {device}")
    try:
        from ..measure.machine import describe_environment

        facts = describe_environment(device) | {"date": str(datetime.date.today())}
    except ImportError as error:
        raise ConfigError(f"r2n tune needs Triton: {error}") from error
    name = torch.cuda.get_device_name(device)
    with torch.cuda.device(device):
        if args.code:
            measured = of_bundle(args.code, args.sha256, device)
        else:
            measured = of_model(args, config, dtype, device)
        show_and_keep(measured, args.output, name, facts)
    return 0


def of_model(
    args: argparse.Namespace, config: Res2NetConfig, dtype: torch.dtype, device: torch.device
) -> Iterator[Measurement]:
    """Measure tiles that Triton compiles here."""
    from ..proof.tune import gpu_timer, tune

    height, width = args.size
    return tune(config, dtype, device, args.batch, height, width, gpu_timer)


def of_bundle(path: str, sha256: str | None, device: torch.device) -> Iterator[Measurement]:
    """Measure tiles that a bundle has code for."""
    from ..bundle import open_bundle
    from ..bundle.backend import device_target
    from ..bundle.driver import CudaKernel, ready
    from ..proof.tune import gpu_timer, tune_stored

    bundle = open_bundle(path, sha256=sha256)
    target = device_target(bundle, device)
    ready(device)

    @cache
    def kernel(code: Code) -> CudaKernel:
        return CudaKernel(code, bundle, device)

    return tune_stored(bundle, target, device, kernel, gpu_timer)


def show_and_keep(
    measurements: Iterable[Measurement], path: str, device: str, facts: Mapping[str, str]
) -> None:
    """Print each as it comes and put it into the table at once, because a run may be stopped.

    What the table already has of other devices and geometries stays. Raises ConfigError for a
    table that cannot be read or written, before anything is measured.
    """
    from ..tile_table import load_tiles, read_devices, save_tiles

    known = read_devices(path) if os.path.exists(path) else {}
    tiles = dict(load_tiles(path, device).tiles) if device in known else {}
    save_tiles(tiles, path, device, facts)
    measured = faster = 0
    with progress(None, "geometries") as bar:
        for result in measurements:
            with bar.external_write_mode():
                print(result)
                bar.update(1)
            measured += 1
            faster += result.improved
            tiles.pop(result.key, None)
            if result.improved:
                tiles[result.key] = result.best
            save_tiles(tiles, path, device, facts)
    print(f"{path}: {faster} of {measured} geometries got a faster tile on {device}")
