"""r2n bench: throughput of this project's networks and kernels beside their peers."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from ..benchmarks.peers import COMPILE_SECONDS, PEERS, Peer, installed, our_peer, required
from ..benchmarks.records import append
from ..benchmarks.significance import ENOUGH_ROUNDS, MIN_ROUNDS
from ..config import HEADLINE, VARIANTS, variant_name
from ..engine import choose_backend
from ..errors import ConfigError
from ..plan import Plan, build_plan
from .bench_output import Output, check_appendable
from .compare import exit_code, lines, name_of
from .options import DTYPES, device_from, image_size, positive
from .progress import Progress
from .text import say

HELP = "time a model, or each of its steps, beside timm and other peers"
EXAMPLES = """examples:
  r2n bench --quick
  r2n bench --batch 1 8 --peers all --record history.jsonl
  r2n bench --steps --batch 1
  r2n bench --device cuda --dtype float16 --batch 1 32 256 --peers timm-compile
  r2n bench --against main

Subjects take turns in one process for several rounds; figures are medians of
the rounds, percentiles of all calls. Weights are random and seeded. A subject
whose outputs are wrong is named, and has no times. MB is the peak of memory
that a subject added: weights, buffers, activations. `r2n compare` and
`r2n report` read what --record keeps.

On a GPU "p50 ms" is of CUDA events with L2 flushed before each call, which
hides the host's work; "wall ms" is of a call that is waited for, "host ms" of
its launching. With --steps the sum of all steps is not a forward's time: less
on the CPU, where repeated steps find their weights in the cache; maybe more on
a GPU, where each finds L2 flushed and is a CUDA graph of its own (its twin
launches operator by operator). "bound" is the longest of the times to compute,
to move its bytes of memory, and those of L2, by the peaks in the heading.

exit codes:
  0 done; 1 wrong outputs, or with --against a regression; 2 not comparable,
  wrong usage; 130 stopped
"""
CPU, GPU = {"batch": [1, 8], "dtype": ["float32"]}, {"batch": [1, 32, 256], "dtype": ["float16"]}
QUICK = {"rounds": 7, "seconds": 0.2}
THOROUGH = {"rounds": ENOUGH_ROUNDS, "seconds": 0.4}
STEP_SECONDS = 0.05


class Running(Progress):
    unit = "runs"


def seconds(text: str, most: int = 600) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise argparse.ArgumentTypeError(f"expected seconds from above 0 to {most}, got '{text}'")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default=HEADLINE, metavar="NAME", help="of `r2n models` (default: %(default)s)")
    add("--batch", type=positive, nargs="+", metavar="N",
        help="default: 1 8 on the CPU, 1 32 256 on a GPU")  # fmt: skip
    add("--size", type=image_size, default=(224, 224), metavar="PX|HxW", help="default: 224")
    add("--dtype", choices=DTYPES, nargs="+", metavar="NAME",
        help=f"of {', '.join(DTYPES)}; default: float32 on the CPU, float16 on a GPU")  # fmt: skip
    add("--backend", choices=("auto", "torch", "triton"), nargs="+", default=["auto"],
        help="of this project, one subject each (default: auto)")  # fmt: skip
    add("--peers", nargs="+", choices=[*PEERS, "all", "none"], metavar="NAME",
        help=f"{', '.join(PEERS)}; all that are installed, but for max-autotune; or none "
        "(default: timm where it is installed, else reference)")  # fmt: skip
    add("--compile-seconds", type=partial(seconds, most=7200), metavar="S",
        help="that a peer may take to compile itself for a case, else it is left out "
        f"(default: {COMPILE_SECONDS:.0f}; max-autotune may need more)")  # fmt: skip
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add("--threads", type=positive, default=torch.get_num_threads(), metavar="N",
        help="of the CPU, recorded (default: torch's choice, %(default)s here)")  # fmt: skip
    add("--preprocessing", action="store_true",
        help="time resizing, cropping and normalising decoded 500x375 images too")  # fmt: skip
    add("--steps", action="store_true",
        help="instead, each different step of the plan beside its PyTorch twin")  # fmt: skip
    add("--rounds", type=positive, metavar="N",
        help=f"default: {THOROUGH['rounds']}; comparing needs {MIN_ROUNDS} at "
        f"least, and {ENOUGH_ROUNDS} to find 5%% in 2%% of noise")  # fmt: skip
    add("--seconds", type=seconds, metavar="S",
        help=f"of a subject in a round (default: {THOROUGH['seconds']}; with --steps "
        f"{STEP_SECONDS})")  # fmt: skip
    add("--quick", action="store_true", help=f"{QUICK['rounds']} rounds of {QUICK['seconds']} s: "
        "under two minutes on two cores")  # fmt: skip
    add("--record", metavar="FILE", help="append records there; each subject then runs twice a "
        "round, to show the noise")  # fmt: skip
    add("--csv", metavar="DIR", help="write timm's results/benchmark-infer-*.csv, a file a subject")
    add("--markdown", metavar="FILE", help="put the tables between the file's marks "
        "'<!-- r2n bench: begin -->' and '... end -->'")  # fmt: skip
    add("--against", metavar="REV", help="compare the work tree with this commit, in "
        f"{ENOUGH_ROUNDS} processes each (--rounds), that take turns")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    settle(args)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        if args.against:
            return against(args)
        return steps(args) if args.steps else networks(args)
    finally:
        torch.set_num_threads(before)


def settle(args: argparse.Namespace) -> None:
    """Fill in what depends on other arguments. Raises ConfigError for what cannot be timed."""
    args.model = variant_name(args.model)
    args.device = device_from(args.device)
    usual = CPU if args.device.type == "cpu" else GPU
    args.batch = list(dict.fromkeys(args.batch or usual["batch"]))
    args.dtype = list(dict.fromkeys(args.dtype or usual["dtype"]))
    if "float16" in args.dtype and args.device.type == "cpu":
        raise ConfigError("--dtype float16 needs a GPU; on the CPU use float32 or bfloat16")
    if "triton" in args.backend and args.device.type == "cpu":
        raise ConfigError("--backend triton needs a GPU: an interpreter's speed means nothing")
    auto = choose_backend(args.device)[0]
    args.backend = list(dict.fromkeys(auto if b == "auto" else b for b in args.backend))
    if args.steps and args.backend == ["torch"] and args.device.type != "cpu":
        raise ConfigError("--steps on a GPU times the Triton kernels, and the backend is 'torch'")
    if args.csv and args.preprocessing:
        raise ConfigError("--csv: timm's tables hold the model alone, without --preprocessing")
    if args.steps and (args.csv or args.preprocessing or args.peers):
        raise ConfigError("--steps goes with none of --csv, --preprocessing and --peers")
    if args.csv and args.size[0] != args.size[1]:
        raise ConfigError("--csv: timm's tables hold square images only")
    defaults = QUICK if args.quick else THOROUGH
    if args.seconds is None:
        args.seconds = STEP_SECONDS if args.steps else defaults["seconds"]
    if args.rounds is None:
        args.rounds = ENOUGH_ROUNDS if args.against else defaults["rounds"]
    if args.against and args.rounds < MIN_ROUNDS:
        raise ConfigError(f"--against needs --rounds {MIN_ROUNDS} at least, got {args.rounds}")
    if args.against and (args.csv or args.markdown):
        raise ConfigError("--against goes with neither --csv nor --markdown")


def networks(args: argparse.Namespace) -> int:
    """Every case; what is kept of one is kept as soon as it is done."""
    from ..benchmarks.network import SCOPES, Bench

    bench = Bench(args.model, peers(args), args.compile_seconds or COMPILE_SECONDS)
    scope = SCOPES[args.preprocessing]
    output, wrong = Output(args), False
    for dtype in (getattr(torch, name) for name in args.dtype):
        for batch in args.batch:
            results = bench.run(
                batch, *args.size, dtype, args.device, scope, args.rounds, args.seconds,
                twice=args.record is not None,
            )  # fmt: skip
            output.networks(results, plan_of(args, batch, dtype), scope)
            wrong |= any(result.wrong for result in results)
    output.close()
    return 1 if wrong else 0


def peers(args: argparse.Namespace) -> list[Peer]:
    """The peers that were asked for, then this project's backends."""
    names = args.peers or ["timm" if installed(PEERS["timm"]) else "reference"]
    if "all" in names:
        left = [name for name, peer in PEERS.items() if not installed(peer)]
        if left:
            say(f"not installed, so left out: {', '.join(left)}")
        alone = {name for name, peer in PEERS.items() if peer.on_request} - set(names)
        names = [name for name in PEERS if name not in {*left, *alone}]
    chosen = required([name for name in dict.fromkeys(names) if name != "none"])
    return [*chosen, *map(our_peer, args.backend)]


def steps(args: argparse.Namespace) -> int:
    from ..benchmarks.steps import time_steps

    output, wrong = Output(args), False
    for dtype in (getattr(torch, name) for name in args.dtype):
        for batch in args.batch:
            plan = plan_of(args, batch, dtype)
            results = time_steps(
                args.model, batch, *args.size, dtype, args.device, args.backend[0], args.rounds,
                args.seconds, twice=args.record is not None,
            )  # fmt: skip
            wrong |= output.steps(results, plan)
    output.close()
    return 1 if wrong else 0


def against(args: argparse.Namespace) -> int:
    from ..benchmarks.against import WrongOutputs, time_both
    from ..benchmarks.compare import compare, missing
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
        with Running(2 * args.rounds) as bar:
            base, new = time_both(args.against, words, args.rounds, lambda: bar.advance(1))
    except WrongOutputs as error:
        say(f"r2n: {error}")
        return 1
    for record in (*base, *new) if args.record else ():
        append(Path(args.record), record)
    compared, unmatched = compare(base, new)
    print(f"base: {args.against}, new: the work tree; {args.rounds} processes each, in turns")
    print("\n".join(lines(compared, unmatched)))
    for record in missing(base, new):
        print(f"only in {args.against}: {name_of(record)}")
    return exit_code(compared, unmatched)


def plan_of(args: argparse.Namespace, batch: int, dtype: torch.dtype) -> Plan:
    """Of the first of this project's backends."""
    config, backend = VARIANTS[args.model], args.backend[0]
    if backend == "torch":
        return build_plan(config, batch, *args.size, dtype, backend)
    from ..kernels.targets import target_of

    return build_plan(config, batch, *args.size, dtype, backend, target=target_of(args.device))
