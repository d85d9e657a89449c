"""`r2n inspect --run` and `--mutate` run the instances from their compiled code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigError
from ..files import replace_text
from .arguments import seed
from .progress import progress

if TYPE_CHECKING:
    from ..compiled.inspection import Inspected
    from ..compiled.instances import Request
    from ..compiled.mutation import Mutated
    from ..compiled.pool import Pool
    from ..compiled.run import Outcome, RunOptions, RunResult, Work

    Runs = list[Outcome[RunResult]]
    Mutations = list[Outcome[list[Mutated]]]

T = TypeVar("T")

ORDERS = ("lockstep", "forward", "reverse", "random")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("execution, in an emulator on the CPU (NVIDIA targets)")
    add = group.add_argument
    add("--run", action="store_true", dest="execute",
        help="run every instance against its PyTorch twin, with race and bounds checks and "
        "counters; two images stand for a larger batch")  # fmt: skip
    add("--order", choices=ORDERS, help="of warps: all at once, first first, last first, or random "
        "(default: lockstep)")  # fmt: skip
    add("--seeds", type=seed, nargs="+", metavar="N", help="one run each, of random order")
    add("--input", metavar="FILE.npy", help="images [N, C, H, W] for the whole network, instead of "
        "noise for each step")  # fmt: skip
    add("--html", metavar="FILE", help="write what was counted, beside the kernels' lines, as "
        "one page; needs --run")  # fmt: skip
    add("--mutate", action="store_true",
        help="drop or weaken every barrier, fence and wait of every instance, one at a time: are "
        "the races reported?")  # fmt: skip


def check_arguments(args: argparse.Namespace, targets: Sequence[str]) -> None:
    """Raise ConfigError for options that do not go together, and targets without PTX."""
    if not args.execute:
        for name in ("order", "seeds", "input", "html"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} needs --run")
    if args.seeds and args.order != "random":
        raise ConfigError("--seeds needs --order random: the other orders have no chance in them")
    if args.execute or args.mutate:
        from ..compiled.launcher import checked_target

        for target in targets:
            checked_target(target)


def execute(
    args: argparse.Namespace, requests: Sequence[Request], rows: Sequence[Inspected], pool: Pool
) -> tuple[Runs, Mutations]:
    """Return what runs showed, and what mutations showed."""
    from ..compiled.mutation import run_mutants
    from ..compiled.run import RunOptions, read_images, run_work

    if args.input is not None:
        for request in requests:
            read_images(args.input, request)  # says what is wrong with it first
    runs: Runs = []
    mutations: Mutations = []
    if args.execute:
        options = RunOptions(args.order or ORDERS[0], tuple(args.seeds or (0,)), args.input)
        runs = spread(requests, rows, pool, options, run_work)
    if args.mutate:
        mutations = spread(requests, rows, pool, RunOptions(), run_mutants)
    return runs, mutations


def spread(
    requests: Sequence[Request], rows: Sequence[Inspected], pool: Pool, options: RunOptions,
    function: Callable[[Work], list[T]],
) -> list[Outcome[T]]:  # fmt: skip
    """Return function(work)'s results, computed in the workers, with a bar."""
    from ..compiled.run import execute, work_of

    work = work_of(requests, rows, options)
    with progress(sum(len(piece.executables) for piece in work), "kernels") as bar:
        return execute(work, pool, function, bar.update)


def texts(runs: Runs, mutations: Mutations) -> list[str]:
    """Return what was found, for people."""
    from ..compiled.tables import mutation_table, run_table

    found = [run_table(runs)] if runs else []
    return found + ([mutation_table(mutations)] if mutations else [])


def write_page(path: str, runs: Runs) -> None:
    """Write the runs' counters beside the lines of the kernels, as one HTML page."""
    from ..emulator import Section, page

    sections = [
        Section(
            f"{run.instance.target}  {run.step}  {run.instance.name}", run.executable.code.ptx,
            run.found.counters,
        )
        for run in runs
        if run.found is not None
    ]  # fmt: skip
    replace_text(Path(path), page(sections, "Kernels run in the emulator"))


def records(runs: Runs, mutations: Mutations) -> dict[str, list[Any]]:
    """Return what was found, as JSON has it."""
    from ..compiled.tables import mutation_record, run_record

    found = {"runs": [run_record(outcome) for outcome in runs]} if runs else {}
    if mutations:
        found["mutations"] = [mutation_record(outcome) for outcome in mutations]
    return found


def count_faults(runs: Runs, mutations: Mutations) -> int:
    """Count instances that are wrong, illegal or cannot be run, and those with a hole."""
    bad = sum(outcome.found is None or bool(outcome.found.faults) for outcome in runs)
    return bad + sum(
        outcome.found is None or any(mutant.verdict == "HOLE" for mutant in outcome.found)
        for outcome in mutations
    )
