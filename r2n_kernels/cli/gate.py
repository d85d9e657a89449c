"""r2n gate tells whether a change made the compiled code, or the plan, worse."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..kernels.targets import NVIDIA
from . import execution
from .arguments import add_shared
from .inspect import compile_rows
from .output import Case, check_output, write_json, write_junit
from .terminal import say

if TYPE_CHECKING:
    from ..compiled.baseline import Baseline
    from ..compiled.gate import Difference
    from ..compiled.summary import Summary

EXAMPLES = """examples:
  r2n gate
  r2n gate --target sm_90 --run
  r2n gate --json gate.json --junit gate.xml
  r2n gate --update

Needs no GPU and has no noise: registers, spills, shared memory, instructions
of every kernel instance of the headline model (224 px, float16, batch 1 and
256), and launches, bytes and multiply-accumulates of its plans. The baseline
is a file under version control, like a lock file: whatever differs from it,
better or worse, fails until --update accepts it, and the diff is reviewed.

--update also executes, in the emulator, the instances whose code, launches or
plan changed; the counters of the others are kept. --run executes all, as is
needed after a change of the emulator.

exit codes:
  0 all is as in the baseline, or was accepted; 1 something differs, or was not
  accepted because it does not compile or run; 2 not comparable (another
  Triton), a damaged baseline, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    where = "benchmarks/baseline.json of the checkout that r2n is run from"
    add("--baseline", metavar="FILE", help=f"default: {where}")
    add("--update", action="store_true", help="accept what differs: write it to the baseline")
    add("--run", action="store_true", dest="execute",
        help="also execute every instance, and compare counters: multiply-accumulates, "
        "instructions, bytes, use of sectors, bank conflicts")  # fmt: skip
    named = f"only these, also with --update; of {', '.join(NVIDIA)} (default: the baseline's)"
    add_shared(parser, "--target", nargs="+", choices=NVIDIA, help=named)
    add_shared(parser, "--json", "--junit", "--jobs")


def run(args: argparse.Namespace) -> int:
    try:
        from ..compiled import baseline
        from ..compiled.gate import compare, counts
        from ..compiled.summary import TARGETS as DEFAULT
    except ImportError as error:
        raise ConfigError(f"r2n gate needs Triton: {error}") from error
    path = Path(args.baseline) if args.baseline else baseline.default_path()
    check_output("--baseline", args.baseline)
    for option in ("json", "junit"):
        check_output(f"--{option}", getattr(args, option), [str(path)])
    start = time.perf_counter()
    base = read_base(path, args)
    known = base.targets if base else {}
    found = measure(args, base, tuple(dict.fromkeys(args.target or known or DEFAULT)))
    differences = [d for name in found for d in compare(name, known.get(name, {}), found[name])]
    report(args, path, found, differences)
    seconds, broken = time.perf_counter() - start, sum(d.broken for d in differences)
    say(f"{sum(map(len, found.values()))} entries in {seconds:.1f} s: {counts(differences)}")
    if args.update and not broken:
        baseline.write(path, {**known, **found} if args.target else found)
        say(f"written: {path}")
        return 0
    if broken:
        say(f"instances that do not compile or run, and cannot be accepted: {broken}")
    elif differences:
        say("`r2n gate --update` accepts what differs")
    return 1 if differences else 0


def read_base(path: Path, args: argparse.Namespace) -> Baseline | None:
    """Return the baseline; None where --update makes the first one.

    Raises R2NError where it cannot be compared with.
    """
    from ..compiled import baseline

    if args.update and not path.exists():
        return None
    base, installed = baseline.read(path), version("triton")
    if base.triton != installed and (args.target or not args.update):
        raise ConfigError(
            f"not comparable: {path} is of Triton {base.triton}, {installed} is installed; "
            "`r2n gate --update`, for all targets, makes it one of this version"
        )
    return base


def measure(
    args: argparse.Namespace, base: Baseline | None, names: Sequence[str]
) -> Mapping[str, Summary]:
    """Return what was found, by target.

    With --update, what was executed earlier and is still the same is kept.
    """
    from ..compiled.build import Cache, default_folder
    from ..compiled.pool import Pool
    from ..compiled.run import RunOptions, run_work
    from ..compiled.summary import carried, executed, requests, summaries

    wanted = requests(targets=names)
    with Pool(args.jobs or os.cpu_count() or 1) as pool:
        rows = compile_rows(wanted, pool, Cache(default_folder()))
        found = summaries(wanted, rows)
        if not (args.execute or args.update):
            return found
        if not args.execute and base and base.triton == version("triton"):
            found = {name: carried(base.targets.get(name, {}), found[name]) for name in found}
        unknown = [r for r in rows if "executed" not in found[r.instance.target][r.key]]
        results = execution.spread(wanted, unknown, pool, RunOptions(), run_work)
    return executed(found, rows, results)


def report(
    args: argparse.Namespace, path: Path, found: Mapping[str, Summary],
    differences: Sequence[Difference],
) -> None:  # fmt: skip
    """Print the table, and write the files that were asked for."""
    from ..compiled.gate import brief, record, table

    if args.json != "-":
        print(table(found, differences))
    if args.json:
        head = {"baseline": str(path), "triton": version("triton"), "targets": list(found)}
        document = {**head, "executed": args.execute}
        write_json(args.json, {**document, "differences": [record(d) for d in differences]})
    if args.junit:
        texts = {(d.target, d.name): brief(d) for d in differences}
        same = {(target, str(key)): None for target in found for key in found[target]}
        cases = [Case(" ".join(key), failure=text) for key, text in {**same, **texts}.items()]
        write_junit(args.junit, "r2n gate", cases)
