"""`python -m tests.emulator.kinds` runs the cases by architecture; exit code 1: one is not right.

`--write` puts the table into the emulator's README.
"""

from __future__ import annotations

import argparse
import sys
import time

from r2n_kernels.emulator import SCHEDULES

from .registry import ARCHS, RIGHT
from .run import load, put, table, verdict


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator.kinds", description=__doc__)
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only those with this in a name")
    parser.add_argument("--archs", nargs="+", type=int, default=ARCHS, metavar="N")
    parser.add_argument(
        "--write", action="store_true", help="write the table of all into the README"
    )
    parser.add_argument("--schedule", choices=SCHEDULES, default=SCHEDULES[0])
    parser.add_argument("--rotate", action="store_true", help="one architecture each, in turns")
    args = parser.parse_args(argv)
    if args.write and (args.cases or args.rotate or tuple(args.archs) != ARCHS):
        parser.error("--write needs all cases on all architectures")
    every = load()
    found = {}
    for i, case in enumerate(every.values()):
        if args.cases and not any(part in case.name for part in args.cases):
            continue
        archs = [arch for arch in case.archs if arch in args.archs]
        for arch in [archs[i % len(archs)]] if args.rotate and archs else archs:
            start = time.process_time()
            found[case.name, arch] = text = verdict(case, arch, args.schedule)
            print(
                f"{case.name} | sm_{arch} | {text} | {time.process_time() - start:.1f} s",
                flush=True,
            )
    if args.write:
        put("kinds", table(found))
    bad = [key for key, text in found.items() if text != RIGHT]
    print(f"{len(found)} runs, {len(bad)} not right")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
