"""r2n roofline predicts what GPUs could reach, from plans and published figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ..benchmarks.devices import DEVICES
from ..config import HEADLINE, VARIANTS, variant_name
from ..text import text_table
from .arguments import add_shared

if TYPE_CHECKING:
    from ..benchmarks.roofline import Prediction, StepTime, Time

EXAMPLES = """examples:
  r2n roofline
  r2n roofline --device H100-SXM RTX-4090 --batch 1 32 256
  r2n roofline --device B200 --batch 256 --steps
  r2n roofline --device all --json
  r2n roofline --int8

Everything is predicted, nothing measured here. A step takes the longest of its
arithmetic, its bytes from memory, its bytes through L2 and its launches; the
share of the peak that arithmetic reaches was fitted to timm's published rates,
whose residuals are printed. In float16, for this project's kernels, the same
with all split chains in tiles, eager PyTorch and torch.compile. --int8: these
kernels with blocks in int8 too, as if they reached the same share of its peak.

A prediction is a range: L2 as slow and as fast as others have measured it (or
as guessed: then it says so). The tiles of the libraries' convolutions are
assumed: 128x128; on Hopper and B200 at best pairs of 256x128 with multicast.

exit codes: 0 done; 2 wrong usage; 130 stopped
"""
TITLES = ("predicted", "img/s", "ms", "launches", "MB/img", "L2 MB", "bounds, slow", "fast")
STEP_TITLES = ("predicted", "op", "ms", "bound, slow", "fast")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "--model", "--batch", "--size")
    add("--device", nargs="+", choices=[*DEVICES, "all"], default=["H100-SXM"], metavar="GPU",
        help=f"{', '.join(DEVICES)} or all (default: H100-SXM)")  # fmt: skip
    add("--steps", action="store_true", help="show every step of this project's schedule too")
    add("--int8", action="store_true", help="add a schedule whose blocks are in int8")
    add("--json", action="store_true", help="print JSON, with every step of every schedule")


def run(args: argparse.Namespace) -> int:
    from ..benchmarks.roofline import INT8, SCHEDULES, predict

    model = variant_name(args.model)
    height, width = args.size
    names = DEVICES if "all" in args.device else dict.fromkeys(args.device)
    found = [
        predict(schedule, VARIANTS[model], batch, height, width, device)
        for device in (DEVICES[name] for name in names)
        for batch in dict.fromkeys(args.batch)
        for schedule in (*SCHEDULES, *([INT8] if args.int8 else []))
    ]
    if args.json:
        print(json.dumps(document(model, found), indent=1))
        return 0
    print("\n".join(lines(model, found, args.steps)))
    return 0


def lines(model: str, found: Sequence[Prediction], steps: bool) -> Iterator[str]:
    from ..benchmarks.roofline import MEASURED, SCHEDULES, residuals

    height, width = found[0].plans[0].height, found[0].plans[0].width
    yield f"predicted, not measured: {model}, {height}x{width}, float16"
    for device in dict.fromkeys(prediction.device for prediction in found):
        yield f"\n{device.name} (peaks: {device.source})"
        yield f"L2 reads: {device.l2}"
        yield from text_table([TITLES, *(cells(p) for p in found if p.device is device)])
    for prediction in found if steps else ():
        if prediction.schedule == SCHEDULES[-1]:
            yield f"\n{prediction.device.name}, batch {prediction.batch}, each step"
            yield from text_table([STEP_TITLES, *map(step_cells, prediction.steps)])
    yield f"\nfitted to published rates of {HEADLINE} at batch 256:"
    yield from map(partial(residual, "published"), residuals())
    yield "\nmeasured on one GPU, and not fitted to; docs/benchmarks.md says what explains it:"
    yield from map(partial(residual, "measured"), residuals(MEASURED))


def residual(how: str, found: tuple[int, Prediction]) -> str:
    """Return a line on a rate that others published or a GPU showed, beside the prediction."""
    rate, prediction = found
    low, high = (f"{predicted / rate - 1:+.0%}" for predicted in prediction.rates)
    return (
        f"  {prediction.device.name} {prediction.schedule}: {how} {rate:,}, "
        f"predicted {rates(prediction)} ({span(low, high, to=' to ')})"
    )


def span(low: str, high: str, to: str = "-") -> str:
    """Return both ends, or one where they read alike."""
    return low if low == high else f"{low}{to}{high}"


def rates(prediction: Prediction) -> str:
    """Return images per second, to three digits."""
    return span(*(f"{float(f'{rate:.3g}'):,.0f}" for rate in prediction.rates))


def cells(prediction: Prediction) -> list[str]:
    """Return texts in the order of TITLES."""
    plan, batch = prediction.plans[0], prediction.batch
    moved = (plan.bytes_read + plan.bytes_written) / batch / 1e6
    return [
        f"batch {batch} {prediction.schedule}",
        rates(prediction),
        span(*(f"{seconds * 1e3:.2f}" for seconds in prediction.seconds)),
        str(plan.launches),
        f"{moved:.1f}",
        span(*(f"{through / batch / 1e6:.0f}" for through in prediction.bytes_l2)),
        bounds([step.slow for step in prediction.steps]),
        bounds([step.fast for step in prediction.steps]),
    ]


def bounds(times: Sequence[Time]) -> str:
    """Return the share of the time that steps of each bound take."""
    from ..benchmarks.roofline import BOUNDS

    total = sum(time.seconds for time in times)
    shares = {
        bound: sum(time.seconds for time in times if time.bound == bound) / total
        for bound in BOUNDS
    }
    return ", ".join(f"{bound} {share:.0%}" for bound, share in shares.items() if share >= 0.005)


def step_cells(step: StepTime) -> list[str]:
    """Return texts in the order of STEP_TITLES."""
    ends = (step.fast, step.slow)
    milliseconds = span(*(f"{end.seconds * 1e3:.4f}" for end in ends))
    return [step.name, step.op, milliseconds, step.slow.bound, step.fast.bound]


def document(model: str, found: Sequence[Prediction]) -> dict[str, Any]:
    from ..benchmarks.roofline import MEASURED, residuals

    return {
        "predicted": True, "model": model, "dtype": "float16",
        "l2": {p.device.name: asdict(p.device.l2) for p in found},
        "schedules": [
            {
                **_ends(p), "batch": p.batch, "height": p.plans[0].height,
                "width": p.plans[0].width, "launches": p.plans[0].launches,
                "steps": [asdict(step) for step in p.steps],
            }
            for p in found
        ],
        "residuals": [{**_ends(p), "published": published} for published, p in residuals()],
        "measured": [{**_ends(p), "measured": rate} for rate, p in residuals(MEASURED)],
    }  # fmt: skip


def _ends(prediction: Prediction) -> dict[str, Any]:
    low, high = prediction.rates
    return {
        "device": prediction.device.name, "schedule": prediction.schedule,
        "img/s": {"low": low, "high": high},
    }  # fmt: skip
