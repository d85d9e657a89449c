"""r2n history finds where things became slower over many commits."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.runs import name_of
from ..benchmarks.significance import FLOOR
from ..files import replace_text
from ..text import counted, printable
from .arguments import add_shared, positive
from .compare import read_records, share
from .output import check_output, make_folder, write_json

if TYPE_CHECKING:
    from ..benchmarks.changepoints import Change
    from ..benchmarks.history import Series

EXAMPLES = """examples:
  r2n history main.jsonl
  r2n history 2026.jsonl 2027.jsonl --last 10
  r2n history main.jsonl --otava series

Files of records, as `r2n bench --record FILE` makes them: a run of each commit
is enough. Change points are found by E-divisive, Apache Otava's method: it
sees 1% a commit for ten commits, which no two neighbours show. A series needs
11 commits; one without changes has a false alarm in 200. Times are over those
of a peer that ran beside all of them, where there is one.

exit codes:
  0 the newest change of no series is a slow-down; 1 of one it is; 2 no series
  has enough commits, a damaged file, or wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="files of records (JSONL)")
    add("--floor", type=share, default=FLOOR, metavar="SHARE",
        help="smallest change that counts (default: %(default)s)")  # fmt: skip
    add(
        "--last",
        type=positive,
        metavar="N",
        help="changes in the newest N commits alone make the exit code 1 (default: all)",
    )
    add("--otava", metavar="DIR", help="write each series as a CSV that Apache Otava reads")
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    from ..benchmarks.history import series_of

    check_output("--json", args.json, args.records)
    records = [record for name in args.records for record in read_records(name)]
    found = [(series, series.changes(args.floor)) for series in series_of(records)]
    if args.otava:
        export(make_folder("--otava", args.otava), [series for series, _ in found])
    if args.json != "-":
        for series, changes in found:
            print("\n".join(lines(series, changes)))
    if args.json:
        write_json(args.json, [document(series, changes) for series, changes in found])
    if not any(series.enough for series, _ in found):
        return 2
    return int(any(worse(series, changes, args.last) for series, changes in found))


def worse(series: Series, changes: Sequence[Change], last: int | None) -> bool:
    """Tell whether the newest change is a slow-down, and among the last commits."""
    if not changes or changes[-1].after < changes[-1].before:
        return False
    return last is None or changes[-1].index >= len(series.codes) - last


def lines(series: Series, changes: Sequence[Change]) -> list[str]:
    beside = f", relative to {series.relative_to}" if series.relative_to else ""
    codes = counted(len(series.codes), "commit")
    head = printable(f"{name_of(series.last)}: {codes}{beside}")
    if not series.enough:
        return [f"{head}: too few to tell"]
    found = [said(series, change) for change in changes] or ["no change"]
    return [head, *(f"  {line}" for line in found)]


def said(series: Series, change: Change) -> str:
    before, first = series.codes[change.index - 1][-1], series.codes[change.index][0]
    ratio = math.exp(change.after - change.before)
    word = "slower" if ratio > 1 else "faster"
    commits = f"{_short(before.commit)}..{_short(first.commit)}"
    return printable(
        f"{word}: {ratio:.3f} times as long from {commits} on, {first.time[:10]}, p {change.p:.3f}"
    )


def _short(commit: str | None) -> str:
    return (commit or "no commit")[:12]


def document(series: Series, changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "name": name_of(series.last), "relative to": series.relative_to,
        "enough": series.enough,
        "commits": [code[0].commit for code in series.codes], "times": list(series.times),
        "changes": [
            {
                "index": c.index, "commit": series.codes[c.index][0].commit,
                "ratio": math.exp(c.after - c.before), "p": c.p,
            }
            for c in changes
        ],
    }  # fmt: skip


def export(folder: Path, series: Sequence[Series]) -> None:
    from ..benchmarks.history import otava_csv
    from ..benchmarks.report.text import file_names

    for name, one in zip(file_names([name_of(one.last) for one in series]), series, strict=True):
        replace_text(folder / f"{name}.csv", otava_csv(one))
