"""`r2n inspect --run` and `--mutate` run the instances from their compiled code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .arguments import seed
from .progress import progress

if TYPE_CHECKING:
    from ..compiled.inspection import Row
    from ..compiled.instances import Request
    from ..compiled.pool import Pool
    from ..compiled.run import Result
    from ..compiled.trial import How, Unit

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
    add("--mutate", action="store_true",
        help="drop or weaken every barrier, fence and wait of every instance, one at a time: are "
        "the races reported?")  # fmt: skip


def check_arguments(args: argparse.Namespace, targets: Sequence[str]) -> None:
    """Raise ConfigError for options that do not go together, and targets without PTX."""
    if not args.execute:
        for name in ("order", "seeds", "input"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} needs --run")
    if args.seeds and args.order != "random":
        raise ConfigError("--seeds needs --order random: the other orders have no chance in them")
    if args.execute or args.mutate:
        from ..compiled.launcher import checked_target

        for target in targets:
            checked_target(target)


def execute(
    args: argparse.Namespace, requests: Sequence[Request], rows: Sequence[Row], pool: Pool
) -> tuple[list[Result], list[Result]]:
    """Return results of runs, and of mutations."""
    from ..compiled import trial

    if args.input is not None:
        for request in requests:
            trial.read_images(args.input, request)  # says what is wrong with it first
    runs, mutations = [], []
    if args.execute:
        how = trial.How(args.order or ORDERS[0], tuple(args.seeds or (0,)), data=args.input)
        runs = spread(requests, rows, pool, how, trial.run_unit)
    if args.mutate:
        from ..compiled.mutation import run_mutants

        mutations = spread(requests, rows, pool, trial.How(), run_mutants)
    return runs, mutations


def spread(
    requests: Sequence[Request], rows: Sequence[Row], pool: Pool, how: How,
    function: Callable[[Unit], list],
) -> list[Result]:  # fmt: skip
    """Return the results of function(unit) in the workers, with a bar."""
    from ..compiled.run import execute, units

    work = units(requests, rows, how)
    with progress(sum(len(unit.trials) for unit in work), "kernels") as bar:
        return execute(work, pool, function, bar.update)


def texts(runs: Sequence[Result], mutations: Sequence[Result]) -> list[str]:
    """Return what was found, for people."""
    from ..compiled import mutation_table
    from ..compiled import run_table as table

    found = [table.table(runs)] if runs else []
    return found + ([mutation_table.table(mutations)] if mutations else [])


def records(runs: Sequence[Result], mutations: Sequence[Result]) -> dict[str, list[Any]]:
    """Return what was found, as JSON has it."""
    from ..compiled import mutation_table
    from ..compiled import run_table as table

    found = {"runs": [table.record(result) for result in runs]} if runs else {}
    if mutations:
        found["mutations"] = [mutation_table.record(result) for result in mutations]
    return found


def count_faults(runs: Sequence[Result], mutations: Sequence[Result]) -> int:
    """Count instances that are wrong, illegal or cannot be run, and those with a hole."""
    bad = sum(isinstance(tried, str) or bool(tried.faults) for _, _, tried in runs)
    return bad + sum(
        isinstance(found, str) or any(mutant.verdict == "HOLE" for mutant in found)
        for _, _, found in mutations
    )
