"""r2n compare: did a newer run of benchmarks get slower?"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..benchmarks.compare import FLOOR, Comparison, Unmatched, compare, missing
from ..benchmarks.records import Record
from .recorded import read_records

HELP = "compare two files of benchmark records: is the newer one slower?"
EXAMPLES = """examples:
  r2n compare base.jsonl new.jsonl
  r2n compare base.jsonl new.jsonl --floor 0.03 --junit report.xml

Such files are made by `r2n bench --record FILE`.
A regression is significant by Mann-Whitney's U test, and larger than the noise
that the same code shows against itself. Of several records of one thing the
last in a file counts.

exit codes:
  0 nothing is slower; 1 a regression; 2 not comparable (another machine, dtype
  or scope: it says which), wrong usage, or a damaged file; 130 stopped
"""


def share(text: str) -> float:
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
    add("--json", metavar="FILE", help="write the comparison there; - for standard output")
    add("--junit", metavar="FILE", help="write it as JUnit's XML, a test a record")


def run(args: argparse.Namespace) -> int:
    base, new = (read_records(name) for name in (args.base, args.new))
    compared, unmatched = compare(base, new, args.floor)
    if args.json != "-":
        print("\n".join(lines(compared, unmatched)))
        for record in missing(base, new):
            print(f"only in {args.base}: {name_of(record)}")
    if args.json:
        text = json.dumps(document(compared, unmatched), indent=1) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
        else:
            Path(args.json).write_text(text, encoding="utf-8")
    if args.junit:
        tree = ElementTree.ElementTree(junit(compared, unmatched))
        tree.write(args.junit, encoding="utf-8", xml_declaration=True)
    return exit_code(compared, unmatched)


def exit_code(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> int:
    if any(c.verdict == "regression" for c in compared):
        return 1
    return 2 if unmatched else 0


def name_of(record: Record) -> str:
    size = f"{record.height}x{record.width}"
    words = (record.subject, record.model, record.dtype, f"batch {record.batch}", size)
    return ", ".join([*words, record.step or record.scope])


def lines(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> list[str]:
    titles = ("base ms", 10), ("new ms", 10), ("ratio", 7), ("interval", 15), ("p", 8), ("noise", 6)
    found = [" ".join(f"{title:>{width}}" for title, width in titles)]
    for c in compared:
        old, new = (_median(record) * 1e3 for record in (c.base, c.new))
        low, high = c.interval
        found.append(
            f"{old:10.3f} {new:10.3f} {c.ratio:7.3f} {low:7.3f}-{high:.3f}{'':2} {c.p:8.1e} "
            f"{c.floor:6.1%}  {c.verdict:11} {name_of(c.new)}"
        )
    found += (f"not comparable: {name_of(u.record)}: {u.why}" for u in unmatched)
    return found


def document(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> dict[str, Any]:
    return {
        "compared": [
            {
                "name": name_of(c.new), "verdict": c.verdict, "ratio": c.ratio,
                "interval": list(c.interval), "p": c.p, "floor": c.floor,
                "base": {"commit": c.base.commit, "seconds": _median(c.base)},
                "new": {"commit": c.new.commit, "seconds": _median(c.new)},
            }
            for c in compared
        ],
        "not comparable": [{"name": name_of(u.record), "why": u.why} for u in unmatched],
    }  # fmt: skip


def junit(compared: Sequence[Comparison], unmatched: Sequence[Unmatched]) -> ElementTree.Element:
    slower = [c for c in compared if c.verdict == "regression"]
    suite = ElementTree.Element(
        "testsuite", name="r2n compare", tests=str(len(compared) + len(unmatched)),
        failures=str(len(slower)), errors=str(len(unmatched)),
    )  # fmt: skip
    for c in compared:
        case = ElementTree.SubElement(suite, "testcase", classname="r2n", name=name_of(c.new))
        if c.verdict == "regression":
            text = f"{c.ratio:.3f} times as long, p {c.p:.1e}, noise {c.floor:.1%}"
            ElementTree.SubElement(case, "failure", message=text)
    for u in unmatched:
        case = ElementTree.SubElement(suite, "testcase", classname="r2n", name=name_of(u.record))
        ElementTree.SubElement(case, "error", message=f"not comparable: {u.why}")
    return suite


def _median(record: Record) -> float:
    return statistics.median(record.medians)
