"""r2n bench measures throughput of this project's networks and kernels beside their peers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain

from ..benchmarks.significance import MIN_RUNS
from ..config import variant_name
from ..errors import ConfigError
from .arguments import DTYPES, add_shared, number, positive

EXAMPLES = """examples:
  r2n bench --quick
  r2n bench --batch 1 8 --peers all --record history.jsonl
  r2n bench --steps --batch 1
  r2n bench --device cuda --dtype float16 --batch 1 32 256 --peers timm-compile
  r2n bench --against main
  r2n bench --duration 30 --streams 2 --peers openvino onnxruntime
  r2n bench --images photos --scope pipeline --json figures.json

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
  0 done; 1 wrong outputs, or with --against a regression; 2 with --against no
  verdict can be given, wrong usage; 130 stopped
"""
USUAL = {"cpu": ([1, 8], "float32"), "cuda": ([1, 32, 256], "float16")}
QUICK = {"rounds": 7, "seconds": 0.2}
THOROUGH = {"rounds": 20, "seconds": 0.4}
AGAINST_RUNS = 20  # find 5 % where processes differ by 3 %
STEP_SECONDS = 0.05
DURATION = 10.0  # seconds of a subject


# Names and a default of benchmarks.peers and benchmarks.material, which import torch.
PEERS = ("timm-nchw", "timm", "timm-compile", "timm-compile-graph", "timm-compile-max-autotune",
         "reference", "onnxruntime", "openvino", "openvino-throughput")  # fmt: skip
SCOPES = ("model", "preprocessing", "pipeline")
COMPILE_SECONDS = 300.0


def seconds(most: int) -> Callable[[str], float]:
    """Return a type of argument: seconds, no more than these."""
    return number(f"seconds from above 0 to {most}", lambda value: 0 < value <= most)


def label(text: str) -> tuple[str, str]:
    """Return the name and the value of NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and text.isprintable()):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, as runner=a, got '{text}'")
    return name, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "--model", "--size", "--device", "--threads")
    usual = "default: 1 8 on the CPU, 1 32 256 on a GPU"
    add_shared(parser, "--batch", default=None, help=usual)
    named = f"of {', '.join(DTYPES)}; default: float32 on the CPU, float16 on a GPU"
    add_shared(parser, "--dtype", nargs="+", default=None, metavar="NAME", help=named)
    add_shared(
        parser,
        "--backend",
        choices=("auto", "torch", "triton", "openvino"),
        nargs="+",
        default=["auto"],
        help="auto, torch, triton or openvino; one subject each (default: auto)",
    )
    add("--peers", nargs="+", choices=[*PEERS, "all", "none"], metavar="NAME",
        help=f"{', '.join(PEERS)}; all that are installed, but for max-autotune; or none "
        "(default: timm where it is installed, else reference)")  # fmt: skip
    add("--bundle", metavar="FILE",
        help="on a GPU, also the code of this bundle, on the same weights")  # fmt: skip
    add("--compile-seconds", type=seconds(7200), metavar="S",
        help="that a peer may take to compile itself for a case, else it is left out "
        f"(default: {COMPILE_SECONDS:.0f}; max-autotune may need more)")  # fmt: skip
    add("--scope", choices=SCOPES, help="what a call covers: the model; resizing, cropping "
        "and normalising of decoded images too; or from files to the result (pipeline, with "
        "--images; default: model)")  # fmt: skip
    add("--preprocessing", action="store_true", help="the same as --scope preprocessing")
    add("--images", metavar="FOLDER", help="time its first images, not seeded noise")
    add("--duration", type=seconds(86400), metavar="S",
        help="run each subject for so long, on the CPU, with percentiles to p99.9 "
        f"(default with --streams: {DURATION:.0f})")  # fmt: skip
    add("--streams", type=positive, metavar="N",
        help="run N instances at once, in a thread each, which share the threads (default with "
        "--duration: 1)")  # fmt: skip
    add("--steps", action="store_true",
        help="instead, each different step of the plan beside its PyTorch twin")  # fmt: skip
    add("--rounds", type=positive, metavar="N",
        help=f"default: {THOROUGH['rounds']}; with --against processes, {MIN_RUNS} at least "
        f"(default: {AGAINST_RUNS}, which find 5%% where processes differ by 3%%)")  # fmt: skip
    add("--seconds", type=seconds(600), metavar="S",
        help=f"of a subject in a round (default: {THOROUGH['seconds']}; with --steps "
        f"{STEP_SECONDS})")  # fmt: skip
    add("--quick", action="store_true", help=f"{QUICK['rounds']} rounds of {QUICK['seconds']} s: "
        "under two minutes on two cores")  # fmt: skip
    add("--record", metavar="FILE", help="append records there; each subject then runs twice a "
        "round, to show the noise")  # fmt: skip
    add("--label", type=label, action="append", default=[], metavar="NAME=VALUE",
        help="say in the records where they were taken, as runner=a; may be repeated. Records of "
        "other labels are not compared")  # fmt: skip
    add_shared(parser, "--json")
    add("--csv", metavar="DIR", help="write timm's results/benchmark-infer-*.csv, a file a subject")
    add("--markdown", metavar="FILE", help="put the tables between the file's marks "
        "'<!-- r2n bench: begin -->' and '... end -->'")  # fmt: skip
    add("--against", metavar="REV", help="compare the work tree with this commit, in "
        f"{AGAINST_RUNS} processes each (--rounds), that take turns")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from ..measure.timing import cpu_threads
    from . import bench_run, bench_streams

    settle(args)
    with cpu_threads(args.threads) as args.threads:
        if args.against:
            return bench_run.against(args)
        if args.streams:
            return bench_streams.run(args)
        return bench_run.steps(args) if args.steps else bench_run.networks(args)


def settle(args: argparse.Namespace) -> None:
    """Fill in what depends on other arguments. Raises ConfigError for what cannot be timed."""
    import torch

    from ..engine import choose_backend
    from .load import device_from

    args.model = variant_name(args.model)
    args.device = device_from(args.device)
    settle_scope(args)
    if args.label and not args.record:
        raise ConfigError("--label is kept in records: --record FILE")
    batches, dtype = USUAL[args.device.type]
    args.batch = list(dict.fromkeys(args.batch or batches))
    args.dtype = list(dict.fromkeys(args.dtype or [dtype]))
    if "float16" in args.dtype and args.device.type == "cpu":
        raise ConfigError("--dtype float16 needs a GPU; on the CPU use float32 or bfloat16")
    if "triton" in args.backend and args.device.type == "cpu":
        raise ConfigError("--backend triton needs a GPU: an interpreter's speed means nothing")
    auto = [choose_backend(args.device, getattr(torch, dtype))[0] for dtype in args.dtype]
    if args.steps and args.device.type == "cpu":  # OpenVINO has no steps that run alone
        auto = ["torch"]
        if "openvino" in args.backend:
            raise ConfigError("--steps times the torch backend's steps on the CPU, not openvino's")
    named = [auto if backend == "auto" else [backend] for backend in args.backend]
    args.backend = list(dict.fromkeys(chain.from_iterable(named)))
    if args.steps and args.backend == ["torch"] and args.device.type != "cpu":
        raise ConfigError("--steps on a GPU times the Triton kernels, and the backend is 'torch'")
    if args.bundle and (args.device.type == "cpu" or args.steps or args.against):
        raise ConfigError("--bundle times whole networks on a GPU, without --steps and --against")
    if args.csv and args.preprocessing:
        raise ConfigError(
            "--csv: timm's tables hold the model alone, without --preprocessing or --scope"
        )
    if args.steps and (args.csv or args.preprocessing or args.peers):
        raise ConfigError("--steps goes with none of --csv, --preprocessing, --scope and --peers")
    if args.csv and args.size[0] != args.size[1]:
        raise ConfigError("--csv: timm's tables hold square images only")
    defaults = QUICK if args.quick else THOROUGH
    if args.seconds is None:
        args.seconds = STEP_SECONDS if args.steps else defaults["seconds"]
    if args.rounds is None:
        args.rounds = AGAINST_RUNS if args.against else defaults["rounds"]
    if args.against and args.rounds < MIN_RUNS:
        raise ConfigError(f"--against needs --rounds {MIN_RUNS} at least, got {args.rounds}")
    if args.against and (args.csv or args.markdown):
        raise ConfigError("--against goes with neither --csv nor --markdown")


def settle_scope(args: argparse.Namespace) -> None:
    """Fill in what a call covers, and how it is called. Raises ConfigError."""
    if args.preprocessing and args.scope not in (None, "preprocessing"):
        raise ConfigError(f"--preprocessing and --scope {args.scope} are two scopes")
    args.scope = "preprocessing" if args.preprocessing else args.scope or "model"
    args.preprocessing = args.scope != "model"
    if args.scope == "pipeline" and not args.images:
        raise ConfigError("--scope pipeline reads files: --images FOLDER")
    if args.images and (args.steps or args.against):
        raise ConfigError("--images goes with neither --steps nor --against")
    if args.json and (args.steps or args.against):
        raise ConfigError("--json goes with neither --steps nor --against")
    if not (args.duration or args.streams):
        return
    args.duration, args.streams = args.duration or DURATION, args.streams or 1
    if args.device.type != "cpu":
        raise ConfigError("--duration and --streams are of the CPU alone")
    others = ("steps", "against", "record", "csv", "markdown", "rounds", "seconds", "quick")
    given = [f"--{name}" for name in others if getattr(args, name)]
    if given:
        raise ConfigError(f"--duration and --streams do not go with {', '.join(given)}")
