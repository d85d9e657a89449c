"""r2n roofline: what GPUs could reach, predicted from plans and the makers' figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..benchmarks.devices import DEVICES, Device
from ..benchmarks.roofline import BOUNDS, SCHEDULES, StepTime, plan_for, residuals, step_times
from ..benchmarks.tables import text_table
from ..config import HEADLINE, VARIANTS, variant_name
from ..plan import Plan
from .options import image_size, positive

HELP = "predict throughput on GPUs, without one: a roofline of each step"
EXAMPLES = """examples:
  r2n roofline
  r2n roofline --device H100-SXM RTX-4090 --batch 1 32 256
  r2n roofline --device B200 --batch 256 --steps
  r2n roofline --device all --json

Everything is predicted, nothing measured. A step takes the longest of its
arithmetic, its bytes from memory, its bytes through L2 and its launches; what
shares of the peaks kernels reach was fitted to timm's published rates, whose
residuals are printed. In float16, for this project's kernels, eager PyTorch
and torch.compile.

exit codes: 0 done; 2 wrong usage; 130 stopped
"""
TITLES = ("predicted", "img/s", "ms", "launches", "MB/img", "L2 MB", "bounds")
STEP_TITLES = ("predicted", "op", "ms", "bound")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default=HEADLINE, metavar="NAME", help="of `r2n models` (default: %(default)s)")
    add("--batch", type=positive, nargs="+", default=[1, 256], metavar="N", help="default: 1 256")
    add("--size", type=image_size, default=(224, 224), metavar="PX|HxW", help="default: 224")
    add("--device", nargs="+", choices=[*DEVICES, "all"], default=["H100-SXM"], metavar="GPU",
        help=f"{', '.join(DEVICES)} or all (default: H100-SXM)")  # fmt: skip
    add("--steps", action="store_true", help="show every step of this project's schedule too")
    add("--json", action="store_true", help="print JSON, with every step of every schedule")


def run(args: argparse.Namespace) -> int:
    model = variant_name(args.model)
    names = DEVICES if "all" in args.device else dict.fromkeys(args.device)
    cases = [
        (device, schedule, plan_for(schedule, VARIANTS[model], batch, *args.size, device))
        for device in map(DEVICES.get, names)
        for batch in dict.fromkeys(args.batch)
        for schedule in SCHEDULES
    ]
    if args.json:
        print(json.dumps(document(model, cases), indent=1))
        return 0
    print("\n".join(lines(model, cases, args.steps)))
    return 0


def lines(model: str, cases: Sequence[tuple[Device, str, Plan]], steps: bool) -> Iterator[str]:
    height, width = cases[0][2].height, cases[0][2].width
    yield f"predicted, not measured: {model}, {height}x{width}, float16"
    for device in dict.fromkeys(device for device, _, _ in cases):
        yield f"\n{device.name} (peaks: {device.source})"
        yield from text_table([TITLES, *(cells(d, s, p) for d, s, p in cases if d is device)])
    for device, schedule, plan in cases if steps else ():
        if schedule == SCHEDULES[-1]:
            yield f"\n{device.name}, batch {plan.batch}, each step"
            times = step_times(plan, device)
            rows = ((t.name, t.op, f"{t.seconds * 1e3:.4f}", t.bound) for t in times)
            yield from text_table([STEP_TITLES, *rows])
    yield f"\nfitted to published rates of {HEADLINE} at batch 256:"
    for name, schedule, published, predicted in residuals():
        off = predicted / published - 1
        yield f"  {name} {schedule}: published {published}, predicted {predicted:.0f} ({off:+.0%})"


def cells(device: Device, schedule: str, plan: Plan) -> list[str]:
    times = step_times(plan, device)
    total = sum(time.seconds for time in times)
    moved = (plan.bytes_read + plan.bytes_written) / plan.batch / 1e6
    through = f"{plan.bytes_l2 / plan.batch / 1e6:.0f}" if plan.bytes_l2 else "-"
    shares = bounds(times).items()
    told = ", ".join(f"{bound} {share:.0%}" for bound, share in shares if share >= 0.005)
    return [
        f"batch {plan.batch} {schedule}", f"{plan.batch / total:.0f}", f"{total * 1e3:.2f}",
        str(plan.launches), f"{moved:.1f}", through, told,
    ]  # fmt: skip


def bounds(times: Sequence[StepTime]) -> dict[str, float]:
    """Share of the time that steps of each bound take."""
    total = sum(time.seconds for time in times)
    return {
        bound: sum(time.seconds for time in times if time.bound == bound) / total
        for bound in BOUNDS
    }


def document(model: str, cases: Sequence[tuple[Device, str, Plan]]) -> dict[str, Any]:
    return {
        "predicted": True, "model": model, "dtype": "float16",
        "schedules": [
            {
                "device": device.name, "schedule": schedule, "batch": plan.batch,
                "height": plan.height, "width": plan.width, "launches": plan.launches,
                "img/s": plan.batch / sum(time.seconds for time in step_times(plan, device)),
                "steps": [asdict(time) for time in step_times(plan, device)],
            }
            for device, schedule, plan in cases
        ],
        "residuals": [
            dict(zip(("device", "schedule", "published", "predicted"), row, strict=True))
            for row in residuals()
        ],
    }  # fmt: skip
