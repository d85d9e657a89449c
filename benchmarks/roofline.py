"""What GPUs could reach: predicted times, from plans and the makers' figures. Nothing is measured.

A step takes the longest of: its multiply-accumulates at COMPUTE of the peak, its bytes, weights
included, at MEMORY of the bandwidth, its bytes through L2 at L2 of L2's (only this project's plans
state those: tests hold them to the counts of executed kernels), and LAUNCH for each launch.
COMPUTE and MEMORY were fitted to the published rates below, whose residuals are printed; L2 and
LAUNCH are guesses. That a small batch leaves SMs idle is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import HEADLINE, VARIANTS, Res2NetConfig
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
BOUNDS = ("compute", "memory", "L2", "launch")
SCHEDULES = ("eager", "compiled", "r2n_kernels")


@dataclass(frozen=True)
class StepTime:
    """Predicted seconds of a step, and what bounds it, of BOUNDS."""

    name: str
    op: str
    seconds: float
    bound: str


def plan_for(
    schedule: str, config: Res2NetConfig, batch: int, height: int, width: int, device: Device
) -> Plan:
    """In float16. schedule: of SCHEDULES."""
    shape = (config, batch, height, width, torch.float16)
    if schedule == "eager":
        return EagerSchedule(*shape).plan()
    if schedule == "compiled":
        return CompiledSchedule(*shape).plan()
    return build_plan(*shape, "triton", target=TARGETS[device.target])


def step_times(plan: Plan, device: Device) -> list[StepTime]:
    """Of every step, alone on the device."""
    found = []
    for step in plan.steps:
        weights = step.weights * plan.dtype.itemsize
        moved = step.bytes_read + step.bytes_written + weights
        parts = {
            "compute": 2 * step.executed_macs / (COMPUTE * device.flops),
            "memory": moved / (MEMORY * device.bandwidth),
            "L2": step.bytes_l2 / (L2 * device.l2_bandwidth),
            "launch": LAUNCH * len(step.launches),
        }
        bound = max(parts, key=lambda name: parts[name])
        found.append(StepTime(step.name, step.op, parts[bound], bound))
    return found


def rate(plan: Plan, device: Device) -> float:
    """Predicted images a second."""
    return plan.batch / sum(time.seconds for time in step_times(plan, device))


def residuals() -> list[tuple[str, str, int, float]]:
    """(device, schedule, published, predicted) img/s of the headline model."""
    config = VARIANTS[HEADLINE]
    return [
        (name, schedule, published,
         rate(plan_for(schedule, config, 256, 224, 224, DEVICES[name]), DEVICES[name]))
        for (name, schedule), published in PUBLISHED.items()
    ]  # fmt: skip
