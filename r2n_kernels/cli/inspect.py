"""r2n inspect: what the kernels of a model compile to, without a GPU."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..config import HEADLINE, Res2NetConfig
from ..create import architecture_of
from ..errors import ConfigError
from ..kernels.targets import DEFAULT, TARGETS
from ..plan import SCHEDULES
from . import execution
from .bundled import expand
from .options import image_size, positive
from .progress import Progress
from .reports import check_folder, write_json
from .text import say

if TYPE_CHECKING:
    from ..compiled.build import Cache
    from ..compiled.inspection import Inspected
    from ..compiled.instances import Request
    from ..compiled.pool import Pool

HELP = "compile a model's kernels ahead of time and show what they cost"
EXAMPLES = """examples:
  r2n inspect
  r2n inspect --target all --batch 1 256 --json report.json
  r2n inspect --target sm_80 gfx942 --kernel 'stage*' --dtype bfloat16
  r2n inspect --model digits --batch 8 --dump asm --dump-kind ptx sass
  r2n inspect --run --target sm_80 sm_90 --batch 1 --size 64
  r2n inspect --run --order random --seeds 1 2 3 --kernel 'stage*'
  r2n inspect --mutate --kernel stage_chained --batch 256 --size 64

Needs no GPU. Every instance is specialised as Triton would at run time, for
an input that is contiguous, aligned and in the network's dtype.

exit codes:
  0 all is well; 1 an instance does not compile, spills, exceeds the chip's
  shared memory, or multiplies 16-bit numbers without tensor cores; or, run, it
  is wrong, races, or goes out of bounds, or a mutation of it is a hole in the
  race detector; 2 wrong usage; 130 stopped
"""
KINDS = ("ttir", "ttgir", "llir", "ptx", "sass", "amdgcn")


class Compiling(Progress):
    unit = "kernels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=HEADLINE,
        metavar="NAME",
        help="of `r2n models`, digits, or local-dir:PATH; its config alone (default: %(default)s)",
    )
    add = parser.add_argument
    add("--batch", type=positive, nargs="+", default=[1, 256], metavar="N", help="default: 1 256")
    add("--size", type=image_size, default=(224, 224), metavar="PX|HxW", help="default: 224")
    dtypes = ("float16", "bfloat16", "float32")
    add("--dtype", choices=dtypes, default=dtypes[0], help="default: float16")
    add(
        "--target",
        nargs="+",
        choices=[*TARGETS, "all"],
        default=[DEFAULT.name],
        metavar="ARCH",
        help=f"{', '.join(TARGETS)} or all (default: {DEFAULT.name})",
    )
    add("--schedule", choices=SCHEDULES, default="auto", help="default: auto, by the batch")
    add("--kernel", default="*", metavar="PATTERN", help="only these kernels, as in 'conv*'")
    add("--jobs", type=positive, metavar="N", help="compilations at once (default: cores)")
    add("--json", metavar="FILE", help="write the report there; - for standard output")
    add("--dump", metavar="DIR", help="write the code of every instance below it, by target")
    add("--dump-kind", nargs="+", choices=KINDS, metavar="KIND",
        help=f"{', '.join(KINDS)}: those that the target has (default: all)")  # fmt: skip
    add("--cache", metavar="DIR", help="default: r2n_kernels/aot in the user's cache folder")
    add("--no-cache", action="store_true", help="compile everything, and keep nothing")
    execution.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.no_cache and args.cache:
        raise ConfigError("pass either --cache or --no-cache, not both")
    if args.dump_kind and not args.dump:
        raise ConfigError("--dump-kind needs --dump DIR")
    check_folder("--json", args.json)
    from ..compiled.build import Cache, default_folder
    from ..compiled.instances import Request
    from ..compiled.pool import Pool

    names = TARGETS if "all" in args.target else dict.fromkeys(args.target)
    execution.check_arguments(args, tuple(names))
    config, dtype = config_of(args.model), getattr(torch, args.dtype)
    requests = [
        Request(config, batch, *args.size, dtype, name, args.schedule)
        for name in names
        for batch in dict.fromkeys(args.batch)
    ]
    cache = None if args.no_cache else Cache(Path(args.cache) if args.cache else default_folder())
    start = time.perf_counter()
    with Pool(args.jobs or os.cpu_count() or 1) as pool:
        rows = compile_rows(requests, pool, cache, args.kernel)
        executed = execution.execute(args, requests, rows, pool)
    report(args, rows, executed)
    if args.dump:
        dump(Path(args.dump), rows, args.dump_kind or KINDS)
    faults = sum(bool(row.faults) for row in rows) + execution.count_faults(*executed)
    say(f"{len(rows)} instances in {time.perf_counter() - start:.1f} s, {faults} with faults")
    return 1 if faults else 0


def compile_rows(
    requests: Sequence[Request], pool: Pool, cache: Cache | None, kernel: str = "*"
) -> list[Inspected]:
    """Every instance of the requests, with a bar."""
    from ..compiled.inspection import inspect

    with compiling() as told:
        return inspect(requests, pool, cache=cache, kernel=kernel, **told)


@contextmanager
def compiling() -> Iterator[dict[str, Callable[..., None]]]:
    """Yield `started` and `done`, which move a bar whose length is known once work is listed."""
    bars = [Compiling(0)]
    try:
        yield {
            "started": lambda total: bars.append(Compiling(total)),
            "done": lambda: bars[-1].advance(1),
        }
    finally:
        bars[-1].hide()


def report(
    args: argparse.Namespace, rows: Sequence[Inspected],
    executed: tuple[execution.Runs, execution.Mutations],
) -> None:  # fmt: skip
    """The table on standard output, and the JSON where it was asked for."""
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
    """folder/<target>/<instance>.<kind>"""
    for row in rows:
        texts = row.compiled.texts if row.compiled else {}
        place = folder / row.instance.target
        place.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "_", str(row.key))
        for kind in kinds:
            if kind in texts:
                (place / f"{stem}.{kind}").write_text(texts[kind], encoding="utf-8")


def config_of(model: str) -> Res2NetConfig:
    """The configuration of a name of `r2n models`, of digits or of a folder.

    Raises ConfigError, WeightsError.
    """
    return architecture_of(expand(model))[0]
