"""What GPUs could reach: predicted times, from plans and the makers' figures. Nothing is measured.

    python -m r2n_kernels.benchmarks.roofline --batch 256 --device H100-SXM

A step takes the longest of: its multiply-accumulates at COMPUTE of the peak, its bytes, weights
included, at MEMORY of the bandwidth, its bytes through L2 at L2 of L2's (only this project's plans
state those: tests hold them to the counts of executed kernels), and LAUNCH for each launch.
COMPUTE and MEMORY were fitted to the published rates below, whose residuals are printed; L2 and
LAUNCH are guesses. That a small batch leaves SMs idle is not modelled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import HEADLINE, VARIANTS, Res2NetConfig, variant_name
from ..kernels.targets import TARGETS
from ..plan import Plan, build_plan
from .devices import DEVICES, Device
from .frameworks import CompiledSchedule, EagerSchedule

COMPUTE, MEMORY, L2 = 0.70, 0.95, 0.80  # shares of the peaks that kernels reach
LAUNCH = 2e-6  # seconds from one kernel to the next in a stream
# timm's results for res2net101_26w_4s, 224 px, mixed precision, batch 256 (img/s)
PUBLISHED = {
    ("RTX-3090", "eager"): 1793, ("RTX-4090", "eager"): 2595,
    ("RTX-4090", "compiled"): 3876, ("RTX-5090", "compiled"): 5576,
}  # fmt: skip
SCHEDULES = ("eager", "compiled", "r2n_kernels")


@dataclass(frozen=True)
class StepTime:
    """Predicted seconds of a step, and what bounds it: compute, memory, L2 or launch."""

    name: str
    seconds: float
    bound: str


def plan_for(schedule: str, config: Res2NetConfig, batch: int, size: int, device: Device) -> Plan:
    """In float16. schedule: of SCHEDULES."""
    if schedule == "eager":
        return EagerSchedule(config, batch, size, size, torch.float16).plan()
    if schedule == "compiled":
        return CompiledSchedule(config, batch, size, size, torch.float16).plan()
    target = TARGETS[device.target]
    return build_plan(config, batch, size, size, torch.float16, "triton", target=target)


def step_times(plan: Plan, device: Device) -> list[StepTime]:
    """Of every step, alone on the device."""
    found = []
    for step in plan.steps:
        weights = sum(conv.weights for conv in step.convs) * plan.dtype.itemsize
        moved = step.bytes_read + step.bytes_written + weights
        parts = {
            "compute": 2 * step.executed_macs / (COMPUTE * device.flops),
            "memory": moved / (MEMORY * device.bandwidth),
            "L2": step.bytes_l2 / (L2 * device.l2_bandwidth),
            "launch": LAUNCH * len(step.launches),
        }
        bound = max(parts, key=lambda name: parts[name])
        found.append(StepTime(step.name, parts[bound], bound))
    return found


def rate(plan: Plan, device: Device) -> float:
    """Predicted images a second."""
    return plan.batch / sum(time.seconds for time in step_times(plan, device))


def residuals() -> list[tuple[str, str, int, float]]:
    """(device, schedule, published, predicted) img/s of the headline model."""
    config = VARIANTS[HEADLINE]
    return [
        (name, schedule, published,
         rate(plan_for(schedule, config, 256, 224, DEVICES[name]), DEVICES[name]))
        for (name, schedule), published in PUBLISHED.items()
    ]  # fmt: skip


def report(config: Res2NetConfig, batch: int, size: int, device: Device) -> list[str]:
    """Lines: each schedule's predicted rate and bounds, then what the model was fitted to."""
    lines = [f"predicted, not measured: batch {batch}, {size} px, float16, {device.name}"]
    lines.append(f"{'schedule':12} {'img/s':>8} {'launches':>8} {'MB/img':>7} {'L2 MB':>6}  bounds")
    for schedule in SCHEDULES:
        plan = plan_for(schedule, config, batch, size, device)
        times = step_times(plan, device)
        total = sum(time.seconds for time in times)
        shares = {
            bound: sum(time.seconds for time in times if time.bound == bound) / total
            for bound in dict.fromkeys(time.bound for time in times)
        }
        told = ", ".join(f"{bound} {share:.0%}" for bound, share in shares.items())
        moved = (plan.bytes_read + plan.bytes_written) / batch / 1e6
        through = f"{plan.bytes_l2 / batch / 1e6:.0f}" if plan.bytes_l2 else "-"
        head = f"{schedule:12} {batch / total:8.0f} {plan.launches:8}"
        lines.append(f"{head} {moved:7.1f} {through:>6}  {told}")
    lines.append(f"source of the peaks: {device.source}")
    lines.append("fitted to published rates of the headline model at batch 256:")
    lines += (
        f"  {name} {schedule}: published {published}, predicted {predicted:.0f} "
        f"({predicted / published - 1:+.0%})"
        for name, schedule, published, predicted in residuals()
    )
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m r2n_kernels.benchmarks.roofline")
    parser.add_argument("--model", default=HEADLINE, type=variant_name)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, metavar="PX")
    parser.add_argument("--device", choices=DEVICES, default="H100-SXM")
    args = parser.parse_args(arguments)
    lines = report(VARIANTS[args.model], args.batch, args.size, DEVICES[args.device])
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
