"""`python -m tests.emulator.bugs` runs kernels with a bug and without; exit code 1: a surprise.

`--write` puts the table into the emulator's README.
"""

from __future__ import annotations

import argparse
import json
import sys

from ..kinds.run import SECONDS, at_most, load, put
from . import addresses, races  # noqa: F401  they register
from .registry import BUGS, FOUND, RIGHT, Bug, control, hunt


def row(case: Bug, said: str) -> str:
    text = said.split(" | ")[0].replace("|", "\\|")
    return f"| {case.name} | sm_{case.arch} | {text[:150]} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator.bugs", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print bugs and kinds as JSON")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only those with this in a name")
    parser.add_argument("--write", action="store_true", help="write the README's table")
    args = parser.parse_args(argv)
    if args.list:
        cases = {name: [case.group, *case.archs] for name, case in load().items()}
        print(json.dumps({"bugs": list(BUGS), "cases": cases}))
        return 0
    rows, surprises = ["| bug | on | what is said of it |", "|---|---|---|"], 0
    for case in BUGS.values():
        if args.cases and not any(part in case.name for part in args.cases):
            continue
        with at_most(SECONDS):
            verdict, said = hunt(case)
        with at_most(SECONDS):
            without = control(case)
        rows.append(row(case, said))
        surprises += verdict != FOUND or without != RIGHT
        print(f"{case.name} | {verdict} | without it: {without} | {said}", flush=True)
    if args.write:
        put("bugs", "\n".join(rows))
    print(f"{len(rows) - 2} bugs, {surprises} surprises")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
