"""r2n warm compiles a model's kernels into Triton's cache before the first request."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..kernels.targets import TARGETS, Target, nearest, target_of
from .arguments import DTYPES, add_kernel_model, add_shared
from .inspect import compiling, config_of

if TYPE_CHECKING:
    from ..compiled.instances import Request
    from ..compiled.warm import Warmed
    from ..kernels.tiles import TileTable

EXAMPLES = """examples:
  r2n warm --batch 1 8 256
  r2n warm --dtype float16 bfloat16 --batch 32 --size 320
  r2n warm --target sm_90 --batch 1 256
  r2n warm --model local-dir:finetuned --tiles tiles.json

A model compiles its kernels at its first call of an input shape, one after the
other, which takes minutes. After this command, with the same batches, size,
dtype and TRITON_CACHE_DIR, it finds them. Inputs may then be contiguous,
channels_last, or bytes.

A named target needs no GPU; tiles are then chosen for its usual chip. Copy
the cache's folder to where it is used: same Triton, same r2n_kernels.

exit codes: 0 all compiled; 1 a kernel does not compile; 2 no GPU and no
target, wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_kernel_model(parser)
    named = f"of {', '.join(DTYPES)} (default: float16)"
    add_shared(parser, "--dtype", nargs="+", default=["float16"], metavar="NAME", help=named)
    add_shared(parser, "--batch", "--size", "--schedule", "--jobs")
    add_shared(parser, "--target", help=f"{', '.join(TARGETS)} (default: this machine's GPU)")
    add("--tiles", metavar="FILE", help="of `r2n tune`: the tiles that the model will use")
    add("--selftest", action="store_true", help="what `r2n selftest` launches, too")


def run(args: argparse.Namespace) -> int:
    try:
        from ..compiled.pool import Pool
        from ..compiled.warm import note_path, still_there, triton_cache, warm, write_note
        from ..kernels.versions import require_triton

        require_triton()
    except ImportError as error:
        raise ConfigError(f"r2n warm needs Triton: {error}") from error
    chip, here = chip_of(args.target)
    requests, stubs = requests_of(args, chip), here and chip.backend == "cuda"
    note = note_path(requests, chip, stubs=stubs)
    if count := still_there(note):
        print(f"warm: {count} kernels for {named(chip)}: there already; {triton_cache()}")
        return 0
    start = time.perf_counter()
    with compiling() as told, Pool(args.jobs or os.cpu_count() or 1, keep=True) as pool:
        results = warm(requests, pool, chip, stubs=stubs, **told)
    print(report(results, chip, time.perf_counter() - start))
    if any(result.error for result in results):
        return 1
    write_note(note, results)
    return 0


def chip_of(target: str | None) -> tuple[Target, bool]:
    """Return what to compile for, and whether it is this machine's GPU. Raises ConfigError."""
    import torch

    if target is not None:
        return TARGETS[target], False
    if not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU here: name one with --target, as in --target sm_90")
    found = target_of(torch.device("cuda", torch.cuda.current_device()))
    if found is None:
        name = torch.cuda.get_device_name()
        raise ConfigError(f"the kernels need compute capability 8.0 or gfx9, this is {name}")
    return found, True


def requests_of(args: argparse.Namespace, chip: Target) -> list[Request]:
    import torch

    from ..compiled.instances import FORMS, Request

    config, row = config_of(args.model), nearest(chip.arch).name
    tiles = None if args.tiles is None else tiles_of(args.tiles, chip)
    height, width = args.size
    last = (row, args.schedule, chip, tiles, FORMS)
    requests = [
        Request(config, batch, height, width, getattr(torch, dtype), *last)
        for dtype in dict.fromkeys(args.dtype)
        for batch in dict.fromkeys(args.batch)
    ]
    if args.selftest:
        from ..compiled.warm import selftest_requests
        from ..proof.networks import full_setup

        requests += selftest_requests(full_setup(torch.device("cuda")), row, chip)
    return requests


def tiles_of(path: str, chip: Target) -> TileTable:
    """Return the chip's tiles; those of the table's only device where the target names the chip.

    Raises ConfigError where the table does not say which.
    """
    from ..tile_table import load_tiles, read_devices

    names = list(read_devices(path))
    if chip not in TARGETS.values():
        return load_tiles(path, chip.chip)
    if len(names) != 1:
        held = ", ".join(names) or "none"
        raise ConfigError(f"--tiles with --target needs a table of one device; it has: {held}")
    return load_tiles(path, names[0])


def named(chip: Target) -> str:
    return f"{chip.chip} ({chip.name})"


def report(results: Sequence[Warmed], chip: Target, seconds: float) -> str:
    from ..compiled.warm import triton_cache

    failed = [result for result in results if result.error]
    found = sum(result.found for result in results)
    compiled = len(results) - found - len(failed)
    spent = sum(result.seconds for result in results if not result.found)
    lines = [f"{result.instance.name}: {result.error}" for result in failed]
    lines.append(
        f"warm: {len(results)} kernels for {named(chip)}: {compiled} compiled, {found} there "
        f"already, {len(failed)} failed; {seconds:.1f} s, {spent:.1f} s of compiling; "
        f"{triton_cache()}"
    )
    return "\n".join(lines)
