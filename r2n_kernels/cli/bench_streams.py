"""`r2n bench --duration --streams` runs each subject for a time, and tells all latencies."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from typing import Any

from ..benchmarks.material import BY_NAME
from ..benchmarks.network import Bench
from ..benchmarks.peers import COMPILE_SECONDS
from ..benchmarks.percentiles import SHARES, percentiles
from ..benchmarks.streams import Flow, flows
from ..benchmarks.tables import usual
from ..measure.machine import describe_machine
from ..text import counted, short, text_table
from .bench_run import cases, peers
from .output import check_output, write_json
from .terminal import say

NAME = 25  # columns, so that a table has 80
TITLES = ("subject", "img/s", "over", *SHARES, "calls")


def run(args: argparse.Namespace) -> int:
    check_output("--json", args.json)
    told = (lambda text: None) if args.json == "-" else print
    bench = Bench(args.model, peers(args), args.compile_seconds or COMPILE_SECONDS)
    scope, (height, width) = BY_NAME[args.scope], args.size
    told(f"{datetime.date.today()}, {describe_machine()}.")
    found: list[dict[str, Any]] = []
    wrong = False
    for dtype, batch in cases(args):
        material = bench.material(batch, height, width, scope, args.images)
        measured = flows(bench, material, dtype, args.streams, args.duration)
        name = str(dtype).removeprefix("torch.")
        told(
            f"\n{args.model}, {name}, batch {batch}, {height}x{width}, {scope}; "
            f"{counted(args.streams, 'stream')}, {args.duration:g} s of each subject. "
            "Milliseconds of a call."
        )
        told("\n".join(text_table(rows(measured))))
        for flow in measured:
            if flow.left_out:
                (told if args.json != "-" else say)(
                    f"not timed: {flow.peer.subject}: {flow.left_out}"
                )
        wrong |= any(flow.wrong for flow in measured)
        case = {"dtype": name, "batch": batch, "size": [height, width], "scope": scope}
        found.append({**case, "streams": args.streams, "subjects": figures(measured)})
    if args.json:
        write_json(args.json, {"model": args.model, "machine": describe_machine(), "cases": found})
    return 1 if wrong else 0


def base_of(measured: Sequence[Flow]) -> Flow | None:
    return usual(flow for flow in measured if flow.latencies)


def rows(measured: Sequence[Flow]) -> list[Sequence[str]]:
    base = base_of(measured)
    found: list[Sequence[str]] = [TITLES]
    for flow in measured:
        if flow.latencies:
            times = (f"{second * 1e3:.4g}" for second in percentiles(flow.latencies).values())
            over = f"{flow.rate / base.rate:.2f}x" if base else "-"
            name, calls = short(flow.peer.subject, NAME), str(len(flow.latencies))
            found.append([name, f"{flow.rate:.2f}", over, *times, calls])
    return found


def figures(measured: Sequence[Flow]) -> list[dict[str, Any]]:
    """Return what the table says, and why what is not in it is not."""
    base = base_of(measured)
    return [
        {
            "subject": flow.peer.subject, "ours": flow.peer.ours,
            "images per second": flow.rate if flow.latencies else None,
            "speed-up": flow.rate / base.rate if flow.latencies and base else None,
            "seconds": percentiles(flow.latencies) if flow.latencies else None,
            "calls": len(flow.latencies), "left out": flow.left_out or None,
            "error": flow.verdict.error if flow.verdict else None,
        }
        for flow in measured
    ]  # fmt: skip
