"""r2n tune measures tiles on this machine's GPU and keeps those that beat the rules."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..config import VARIANTS, variant_name
from ..errors import ConfigError
from .arguments import add_shared
from .progress import progress

if TYPE_CHECKING:
    from ..proof.tune import Measurement

EXAMPLES = """examples:
  r2n tune
  r2n tune --batch 1 32 256 --dtype bfloat16 --output tiles.json

Every geometry compiles and times a dozen tiles or more. The table is complete
after every line: stop when you like, and run again for another model, batch or
GPU; what was measured before is kept. To use it:

  tiles = load_tiles("tiles.json", torch.cuda.get_device_name())
  create_model(..., device="cuda", triton=TritonOptions(tiles=tiles))

exit codes: 0 done; 2 no GPU, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--model", "--batch", "--size")
    add_shared(parser, "--dtype", default="float16")
    add_shared(parser, "--device", default="cuda", help="cuda or cuda:N (default: cuda)")
    parser.add_argument(
        "--output", default="tiles.json", metavar="FILE", help="the table (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from .load import precision_from

    config, (height, width) = VARIANTS[variant_name(args.model)], args.size
    if not torch.cuda.is_available():
        raise ConfigError("r2n tune measures on a GPU, and torch finds none here")
    dtype, device = precision_from(args.dtype, args.device, "triton")
    if device.type != "cuda":
        raise ConfigError(f"r2n tune measures on a GPU, the device is {device}")
    try:
        from ..measure.machine import describe_environment
        from ..proof.tune import gpu_timer, tune
    except ImportError as error:
        raise ConfigError(f"r2n tune needs Triton: {error}") from error
    name = torch.cuda.get_device_name(device)
    facts = describe_environment(device) | {"date": str(datetime.date.today())}
    with torch.cuda.device(device):
        measured = tune(config, dtype, device, args.batch, height, width, gpu_timer)
        show_and_keep(measured, args.output, name, facts)
    return 0


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
