"""r2n compare tells whether a newer run of benchmarks is slower."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..benchmarks.compare import Unmatched, compare, missing
from ..benchmarks.judge import Comparison
from ..benchmarks.records import Record, read
from ..benchmarks.runs import name_of
from ..benchmarks.significance import DETECT, FLOOR, MIN_RUNS
from ..text import Table, short
from .arguments import add_shared, number
from .comment import github_annotations, markdown
from .output import Case, check_output, write_json, write_junit
from .terminal import say

EXAMPLES = f"""examples:
  r2n compare base.jsonl new.jsonl
  r2n compare base.jsonl new.jsonl --relative-to timm --history main.jsonl
  r2n compare base.jsonl new.jsonl --floor 0.03 --junit report.xml
  r2n compare base.jsonl new.jsonl --format markdown

Such files are made by `r2n bench --record FILE`, a run of it by each process.
Of each thing the newest code of a file counts, with all its runs in a row.
Processes differ, so one run tells nothing: {MIN_RUNS} a side are needed, or 2 where
runs of other codes (in the files, or by --history) tell how much runs differ.

The ratio is of times over those of a peer in the same runs, because a slow
machine slows both; "peer" rows show what it did. A regression has p below
0.001 by Student's t test of the runs, and an interval of the ratio above the
floor; "same" excludes a slow-down of {DETECT:.0%}; "unclear" is all else, with how many
runs would tell; "A/A" is one code on both sides, whose spread is the noise.

exit codes:
  0 same or improved; 1 a regression; 2 cannot tell: unclear, not comparable
  (another machine, version, dtype or scope: it says which), wrong usage, or a
  damaged file; 130 stopped
"""
NAME = 30  # columns; a table of 80 has no more for it
TABLE = Table([
    ("subject", f"<{NAME}"), ("base ms", ">9"), ("new ms", ">9"), ("ratio", ">6"),
    ("interval", ">11"), ("", "<10"),
])  # fmt: skip
share = number("a share from 0 to 1, as in 0.02", lambda value: 0 <= value < 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("base", metavar="BASE", help="a file of records (JSONL)")
    add("new", metavar="NEW", help="another")
    add(
        "--floor",
        type=share,
        default=FLOOR,
        metavar="SHARE",
        help="smallest slow-down that counts (default: %(default)s)",
    )
    add("--relative-to", metavar="PEER",
        help="judge times over those of the peer whose name in the records begins so; none: "
        "times themselves (default: the first peer of both)")  # fmt: skip
    add("--history", nargs="+", default=[], metavar="FILE",
        help="more records: their runs of one code tell the noise")  # fmt: skip
    add("--format", choices=("text", "markdown", "github"), default="text",
        help="of what is printed: a table; a comment for a pull request; or annotations of "
        "GitHub's, beside NEW's name (default: %(default)s)")  # fmt: skip
    add_shared(parser, "--json", "--junit")


def run(args: argparse.Namespace) -> int:
    for option in ("json", "junit"):
        check_output(f"--{option}", getattr(args, option), [args.base, args.new, *args.history])
    base, new = (read_records(name) for name in (args.base, args.new))
    history = [record for name in args.history for record in read_records(name)]
    compared, unmatched = compare(base, new, args.floor, args.relative_to, history)
    if args.json != "-":
        printed = {
            "text": lambda: lines(compared, unmatched),
            "markdown": lambda: markdown(document(compared, unmatched)),
            "github": lambda: github_annotations(document(compared, unmatched), args.new),
        }
        print("\n".join(printed[args.format]()))
    if args.json != "-" and args.format == "text":
        for record in missing(base, new):
            print(f"only in {args.base}: {name_of(record)}")
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
    verdicts = {c.verdict for c in compared}
    if "regression" in verdicts:
        return 1
    return 2 if unmatched or "unclear" in verdicts else 0


def lines(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> list[str]:
    relative = dict.fromkeys(c.relative_to for c in compared if c.relative_to)
    notes = [f"ratios are relative to {', '.join(relative)}"] if relative else []
    if any(c.verdict == "A/A" for c in compared):
        notes.append("A/A: one code on both sides, so what differs is noise")
    notes += [f"{c.verdict}: {name_of(c.new)}: {c.why}" for c in compared if c.why]
    notes += [f"not comparable: {name_of(u.record)}: {u.why}" for u in unmatched]
    shared = dict.fromkeys(case_of(c.new) for c in compared)
    found = []
    for case in shared:
        found += [case, *TABLE.lines(cells(c) for c in compared if case_of(c.new) == case)]
    return found + notes


def case_of(record: Record) -> str:
    """Return what the subjects of one table have in common."""
    return name_of(record).removeprefix(f"{record.subject}, ")


def cells(c: Comparison) -> list[str]:
    """Return the texts of TABLE's columns; p, noise and runs are in the JSON."""
    times = (f"{record.median * 1e3:.4g}" for record in (c.base, c.new))
    interval = "{:.3f}-{:.3f}".format(*c.interval) if c.interval else ""
    return [short(c.new.subject, NAME), *times, f"{c.ratio:.3f}", interval, c.verdict]


def document(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> dict[str, Any]:
    return {
        "compared": [
            {
                "name": name_of(c.new), "verdict": c.verdict, "why": c.why, "ratio": c.ratio,
                "relative to": c.relative_to, "interval": list(c.interval or ()) or None,
                "p": c.p, "noise": c.noise, "floor": c.floor, "runs": list(c.runs),
                "runs needed": c.needed, "machine": {n: list(ends) for n, ends in c.moved.items()},
                "base": {"commit": c.base.commit, "seconds": c.base.median},
                "new": {"commit": c.new.commit, "seconds": c.new.median},
            }
            for c in compared
        ],
        "not comparable": [{"name": name_of(u.record), "why": u.why} for u in unmatched],
    }  # fmt: skip


def cases(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> list[Case]:
    def failure(c: Comparison) -> str | None:
        slower = f"{c.ratio:.3f} times as long, p {c.p or 0:.1e}, noise {c.noise or 0:.1%}"
        return slower if c.verdict == "regression" else None

    def error(c: Comparison) -> str | None:
        return f"unclear: {c.why}" if c.verdict == "unclear" else None

    found = [Case(name_of(c.new), failure=failure(c), error=error(c)) for c in compared]
    return found + [Case(name_of(u.record), error=f"not comparable: {u.why}") for u in unmatched]
