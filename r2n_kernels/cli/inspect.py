"""r2n inspect shows what the kernels of a model compile to, without a GPU, or what a bundle has."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..files import replace_text
from ..kernels.targets import DEFAULT, TARGETS
from ..names import is_bundle
from . import execution
from .arguments import add_cache, add_kernel_model, add_shared
from .bundled import expand
from .output import check_output, write_json
from .progress import progress
from .terminal import say

if TYPE_CHECKING:
    from ..compiled.build import Cache
    from ..compiled.inspection import Inspected
    from ..compiled.instances import Request
    from ..compiled.pool import Pool

EXAMPLES = """examples:
  r2n inspect
  r2n inspect --target all --batch 1 256 --json report.json
  r2n inspect --target sm_80 gfx942 --kernel 'stage*' --dtype bfloat16
  r2n inspect --model digits --batch 8 --dump asm --dump-kind ptx sass
  r2n inspect --run --target sm_80 sm_90 --batch 1 --size 64
  r2n inspect --run --order random --seeds 1 2 3 --kernel 'stage*'
  r2n inspect --run --html report.html --kernel conv1 --batch 1
  r2n inspect --mutate --kernel stage_images --batch 256 --size 64
  r2n inspect model.r2n

Of a bundle, which needs no Triton: its shapes, versions, code and parts, each
held to its hash. Only --json goes with it.

Needs no GPU. Every instance is specialised as Triton would at run time, for
an input that is contiguous, aligned and in the network's dtype.

exit codes:
  0 all is well; 1 an instance does not compile, spills, exceeds the chip's
  shared memory, or multiplies 16-bit numbers without tensor cores; or, run, it
  is wrong, races, or goes out of bounds, or a mutation of it is a hole in the
  race detector; 2 wrong usage; 130 stopped
"""
KINDS = ("ttir", "ttgir", "llir", "ptx", "sass", "amdgcn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", nargs="?", metavar="BUNDLE", help="describe this file of `r2n build`")
    add_kernel_model(parser)
    add_shared(parser, "--batch", "--size", "--schedule", "--jobs", "--json")
    add_shared(parser, "--dtype", default="float16")
    named = f"{', '.join(TARGETS)} or all (default: {DEFAULT.name})"
    choices, default = [*TARGETS, "all"], [DEFAULT.name]
    add_shared(parser, "--target", nargs="+", choices=choices, default=default, help=named)
    add("--kernel", default="*", metavar="PATTERN", help="only these kernels, as in 'conv*'")
    add("--dump", metavar="DIR", help="write the code of every instance below it, by target")
    add("--dump-kind", nargs="+", choices=KINDS, metavar="KIND",
        help=f"{', '.join(KINDS)}: those that the target has (default: all)")  # fmt: skip
    add_cache(parser)
    execution.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    check_output("--json", args.json, [args.bundle, args.input])
    check_output("--html", args.html, [args.bundle, args.input])
    if args.bundle is not None:
        return describe_bundle(args)
    cache = cache_of(args)
    if args.dump_kind and not args.dump:
        raise ConfigError("--dump-kind needs --dump DIR")
    import torch

    from ..compiled.instances import Request
    from ..compiled.pool import Pool

    names = TARGETS if "all" in args.target else dict.fromkeys(args.target)
    execution.check_arguments(args, tuple(names))
    config, dtype = config_of(args.model), getattr(torch, args.dtype)
    height, width = args.size
    requests = [
        Request(config, batch, height, width, dtype, name, args.schedule)
        for name in names
        for batch in dict.fromkeys(args.batch)
    ]
    start = time.perf_counter()
    with Pool(args.jobs or os.cpu_count() or 1) as pool:
        rows = compile_rows(requests, pool, cache, args.kernel)
        executed = execution.execute(args, requests, rows, pool)
    report(args, rows, executed)
    if args.html:
        execution.write_page(args.html, executed[0])
    if args.dump:
        dump(Path(args.dump), rows, args.dump_kind or KINDS)
    faults = sum(bool(row.faults) for row in rows) + execution.count_faults(*executed)
    say(f"{len(rows)} instances in {time.perf_counter() - start:.1f} s, {faults} with faults")
    return 1 if faults else 0


def describe_bundle(args: argparse.Namespace) -> int:
    """Describe the bundle. Raises ConfigError for another file, and options of a compilation."""
    from .describe import describe

    if not is_bundle(args.bundle):
        raise ConfigError(f"{args.bundle!r} is no bundle, model.r2n; a network is named by --model")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--json", args.json] if args.json else []
    usual = vars(parser.parse_args([args.bundle, *words]))
    if any(getattr(args, name) != value for name, value in usual.items()):
        raise ConfigError(f"{args.bundle} is compiled already: only --json goes with a bundle")
    describe(args.bundle, args.json)
    return 0


def cache_of(args: argparse.Namespace, **settings: str) -> Cache | None:
    """Return the cache of compiled kernels, made with these settings. Raises ConfigError."""
    if args.no_cache and args.cache:
        raise ConfigError("pass either --cache or --no-cache, not both")
    from ..compiled.build import Cache, default_folder

    if args.no_cache:
        return None
    return Cache(Path(args.cache) if args.cache else default_folder(), settings)


def compile_rows(
    requests: Sequence[Request], pool: Pool, cache: Cache | None, kernel: str = "*"
) -> list[Inspected]:
    """Compile every instance of the requests, with a bar."""
    from ..compiled.inspection import inspect

    with compiling() as told:
        return inspect(requests, pool, cache=cache, kernel=kernel, **told)


@contextmanager
def compiling() -> Iterator[dict[str, Callable[..., None]]]:
    """Yield `started` and `done`, which move a bar whose length is known once work is listed."""
    with progress(None, "kernels") as bar:
        yield {"started": partial(setattr, bar, "total"), "done": bar.update}


def report(
    args: argparse.Namespace, rows: Sequence[Inspected],
    executed: tuple[execution.Runs, execution.Mutations],
) -> None:  # fmt: skip
    """Print the table, and write the JSON where it was asked for."""
    from ..compiled.tables import inspection_record, inspection_table

    if args.json != "-":
        height, width = args.size
        batches = ", ".join(map(str, args.batch))
        print(f"{args.model}, batch {batches}, {height}x{width}, {args.dtype}, {args.schedule}\n")
        print("\n\n".join([inspection_table(rows), *execution.texts(*executed)]))
    if args.json:
        names = ("model", "batch", "size", "dtype", "schedule")
        head = {name: getattr(args, name) for name in names} | {"triton": version("triton")}
        head["instances"] = [inspection_record(row) for row in rows]
        write_json(args.json, {**head, **execution.records(*executed)})


def dump(folder: Path, rows: Sequence[Inspected], kinds: Sequence[str]) -> None:
    """Write folder/<target>/<instance>.<kind>."""
    for row in rows:
        texts = row.compiled.texts if row.compiled else {}
        place = folder / row.instance.target
        place.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "_", str(row.key))
        for kind in kinds:
            if kind in texts:
                replace_text(place / f"{stem}.{kind}", texts[kind])


def config_of(model: str) -> Res2NetConfig:
    """Return the configuration of a name of `r2n models`, of digits or of a folder.

    Raises ConfigError, WeightsError.
    """
    from ..create import architecture_of

    return architecture_of(expand(model))[0]
