"""r2n compare tells whether a newer run of benchmarks is slower."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..benchmarks.compare import Unmatched, compare, missing
from ..benchmarks.records import Record, read
from ..benchmarks.significance import FLOOR, Comparison
from ..text import Table
from .arguments import add_shared
from .output import Case, check_output, write_json, write_junit
from .terminal import say

EXAMPLES = """examples:
  r2n compare base.jsonl new.jsonl
  r2n compare base.jsonl new.jsonl --floor 0.03 --junit report.xml

Such files are made by `r2n bench --record FILE`.
A regression is significant by Mann-Whitney's U test, and larger than the noise
that the same code shows against itself. Of each thing the newest record of a
file counts, with those before it of the same commit: record several runs, or
take turns with `r2n bench --against`, because processes differ.

exit codes:
  0 nothing is slower; 1 a regression; 2 not comparable (another machine, dtype
  or scope: it says which), wrong usage, or a damaged file; 130 stopped
"""
ONE_RUN = (
    "one run on a side: how processes differ is not part of its noise (see r2n compare --help)"
)
TABLE = Table([
    ("base ms", ">10"), ("new ms", ">10"), ("ratio", ">7"), ("interval", ">15"), ("p", ">8"),
    ("noise", ">6"), ("", "<12"), ("", "<0"),
])  # fmt: skip


def share(text: str) -> float:
    """Return a number from 0 to 1, 1 excluded."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, as in 0.02, got '{text}'")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("base", metavar="BASE", help="a file of records (JSONL)")
    add("new", metavar="NEW", help="another")
    add("--floor", type=share, default=FLOOR, metavar="SHARE",
        help="smallest slow-down that counts; more where a record's own noise is larger "
        "(default: %(default)s)")  # fmt: skip
    add_shared(parser, "--json", "--junit")


def run(args: argparse.Namespace) -> int:
    for option in ("json", "junit"):
        check_output(f"--{option}", getattr(args, option), [args.base, args.new])
    base, new = (read_records(name) for name in (args.base, args.new))
    compared, unmatched = compare(base, new, args.floor)
    if args.json != "-":
        print("\n".join(lines(compared, unmatched)))
        for record in missing(base, new):
            print(f"only in {args.base}: {name_of(record)}")
        if any(min(c.runs) == 1 for c in compared):
            print(ONE_RUN)
    if args.json:
        write_json(args.json, document(compared, unmatched))
    if args.junit:
        write_junit(args.junit, "r2n compare", cases(compared, unmatched))
    return exit_code(compared, unmatched)


def read_records(name: str) -> tuple[Record, ...]:
    """Return a file's records, and say which lines a killed writer left unfinished.

    Raises RecordError.
    """
    found = read(Path(name))
    if found.torn:
        say(f"{name}: passed over unfinished lines {', '.join(map(str, found.torn))}")
    return found.records


def exit_code(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> int:
    if any(c.verdict == "regression" for c in compared):
        return 1
    return 2 if unmatched else 0


def name_of(record: Record) -> str:
    size = f"{record.height}x{record.width}"
    words = (record.subject, record.model, record.dtype, f"batch {record.batch}", size)
    return ", ".join([*words, record.step or record.scope])


def lines(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> list[str]:
    refused = [f"not comparable: {name_of(u.record)}: {u.why}" for u in unmatched]
    return TABLE.lines(map(cells, compared)) + refused


def cells(c: Comparison) -> list[str]:
    """Return the texts of TABLE's columns."""
    times = (f"{record.median * 1e3:.3f}" for record in (c.base, c.new))
    interval = "{:.3f}-{:.3f}  ".format(*c.interval)
    figures = (f"{c.ratio:.3f}", interval, f"{c.p:.1e}", f"{c.floor:.1%}")
    return [*times, *figures, f" {c.verdict}", name_of(c.new)]


def document(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> dict[str, Any]:
    return {
        "compared": [
            {
                "name": name_of(c.new), "verdict": c.verdict, "ratio": c.ratio,
                "interval": list(c.interval), "p": c.p, "floor": c.floor, "runs": list(c.runs),
                "base": {"commit": c.base.commit, "seconds": c.base.median},
                "new": {"commit": c.new.commit, "seconds": c.new.median},
            }
            for c in compared
        ],
        "not comparable": [{"name": name_of(u.record), "why": u.why} for u in unmatched],
    }  # fmt: skip


def cases(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> list[Case]:
    def failure(c: Comparison) -> str | None:
        slower = f"{c.ratio:.3f} times as long, p {c.p:.1e}, noise {c.floor:.1%}"
        return slower if c.verdict == "regression" else None

    found = [Case(name_of(c.new), failure=failure(c)) for c in compared]
    return found + [Case(name_of(u.record), error=f"not comparable: {u.why}") for u in unmatched]
