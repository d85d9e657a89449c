"""`r2n bench` times networks, or steps, or the work tree against a commit."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ..benchmarks.peers import (
    COMPILE_SECONDS,
    PEERS,
    Peer,
    bundle_peer,
    installed,
    our_peer,
    required,
)
from ..benchmarks.records import append
from ..benchmarks.runs import name_of
from ..config import VARIANTS
from ..engine.triton_target import kernel_target
from ..kernels.targets import DEFAULT
from ..plan import Plan, build_plan
from .bench_output import Output, check_appendable
from .compare import exit_code, lines
from .progress import progress
from .terminal import say


def networks(args: argparse.Namespace) -> int:
    """Time every case; what is kept of one is kept as soon as it is done."""
    from ..benchmarks.material import BY_NAME
    from ..benchmarks.network import Bench

    bench = Bench(args.model, peers(args), args.compile_seconds or COMPILE_SECONDS)
    scope, (height, width) = BY_NAME[args.scope], args.size
    output, wrong = Output(args), False
    with progress(len(args.dtype) * len(args.batch), "cases") as bar:
        for dtype, batch in cases(args):
            results = bench.run(
                batch, height, width, dtype, args.device, scope, args.rounds, args.seconds,
                twice=args.record is not None, folder=args.images,
            )  # fmt: skip
            with bar.external_write_mode():
                output.networks(results, plan_of(args, batch, dtype), scope)
                bar.update(1)
            wrong |= any(result.wrong for result in results)
    output.close()
    return 1 if wrong else 0


def cases(args: argparse.Namespace) -> list[tuple[torch.dtype, int]]:
    return [(getattr(torch, name), batch) for name in args.dtype for batch in args.batch]


def peers(args: argparse.Namespace) -> list[Peer]:
    """Return the peers that were asked for, then this project's backends."""
    names = args.peers or ["timm" if installed(PEERS["timm"]) else "reference"]
    if "all" in names:
        left = [name for name, peer in PEERS.items() if not installed(peer)]
        if left:
            say(f"not installed, so left out: {', '.join(left)}")
        alone = {name for name, peer in PEERS.items() if peer.on_request} - set(names)
        names = [name for name in PEERS if name not in {*left, *alone}]
    chosen = required([name for name in dict.fromkeys(names) if name != "none"])
    bundles = [bundle_peer(args.bundle)] if args.bundle else []
    return [*chosen, *map(our_peer, args.backend), *bundles]


def steps(args: argparse.Namespace) -> int:
    from ..benchmarks.steps import time_steps

    height, width = args.size
    output, wrong = Output(args), False
    for dtype, batch in cases(args):
        results = time_steps(
            args.model, batch, height, width, dtype, args.device, args.backend[0], args.rounds,
            args.seconds, twice=args.record is not None,
        )  # fmt: skip
        wrong |= output.steps(results, plan_of(args, batch, dtype))
    output.close()
    return 1 if wrong else 0


def against(args: argparse.Namespace) -> int:
    from ..benchmarks.against import WrongOutputs, time_both
    from ..benchmarks.compare import compare, missing
    from ..benchmarks.judge import NO_PEER
    from ..benchmarks.significance import require_scipy

    require_scipy()
    if args.record:
        check_appendable(args.record)
    words = ["--model", args.model, "--size", "x".join(map(str, args.size))]
    words += ["--batch", *map(str, args.batch), "--dtype", *args.dtype, "--backend", *args.backend]
    words += ["--device", str(args.device), "--threads", str(args.threads), "--rounds", "1"]
    words += ["--seconds", str(args.seconds)]
    words += ["--steps"] if args.steps else ["--peers", *(args.peers or ["none"])]
    words += ["--preprocessing"] if args.preprocessing else []
    if args.compile_seconds:  # else left out: an older commit does not know it
        words += ["--compile-seconds", str(args.compile_seconds)]
    try:
        with progress(2 * args.rounds, "runs") as bar:
            base, new = time_both(args.against, words, args.rounds, bar.update)
    except WrongOutputs as error:
        say(f"r2n: {error}")
        return 1
    for record in (*base, *new) if args.record else ():
        labels = dict(args.label) or record.labels  # a commit may not know --label
        append(Path(args.record), replace(record, labels=labels))
    compared, unmatched = compare(base, new, relative_to=NO_PEER, in_turns=True)
    print(f"base: {args.against}, new: the work tree; {args.rounds} processes each, in turns")
    print("\n".join(lines(compared, unmatched)))
    for record in missing(base, new):
        print(f"only in {args.against}: {name_of(record)}")
    return exit_code(compared, unmatched)


def plan_of(args: argparse.Namespace, batch: int, dtype: torch.dtype) -> Plan:
    """Return the plan of the first of this project's backends."""
    config, backend, (height, width) = VARIANTS[args.model], args.backend[0], args.size
    target = kernel_target(args.device) if backend == "triton" else DEFAULT
    return build_plan(config, batch, height, width, dtype, backend, target=target)
