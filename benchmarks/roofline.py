"""Times on GPUs are predicted from plans and published figures. Nothing is measured.

A step takes the longest of: the multiply-accumulates it executes, padding included, at COMPUTE of
the peak; its bytes, weights included, at MEMORY of the bandwidth; its bytes through L2 at L2 of
what L2 delivers; and LAUNCH for each launch. A prediction is a range. Slow: L2 at its low figure
and the library's plain tile. Fast: L2 at its high figure and the better of the library's tiles.
This project's plans state their own tiles, and tests hold them to the counts of executed kernels.

COMPUTE is the least-squares fit, to two digits, to the published rates below at MEMORY 0.95. All
are of GeForce cards, and none is bound by L2: L2 and LAUNCH are guesses. An H200 was 27 to 48 %
slower than so predicted, whatever ran (MEASURED). That a small batch, or the last tiles of a large
one, leave SMs idle is not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from ..config import HEADLINE, VARIANTS, Res2NetConfig
from ..int8 import ActivationScales, BlockScales
from ..kernels.targets import TARGETS, without_gluon
from ..plan import Plan, Step, build_plan
from .devices import DEVICES, Device
from .library_plan import LIBRARIES, LIBRARY_TILES, PLAIN, library_plan

COMPUTE, MEMORY, L2 = 0.77, 0.95, 0.85  # shares of the peaks that kernels reach
LAUNCH = 2e-6  # seconds from one kernel to the next in a stream
# timm's results for res2net101_26w_4s, 224 px, mixed precision, batch 256 (img/s)
PUBLISHED = {
    ("RTX-3090", "eager"): 1793, ("RTX-4090", "eager"): 2595,
    ("RTX-4090", "compiled"): 3876, ("RTX-5090", "compiled"): 5576,
}  # fmt: skip
# On one GPU, 2026-11-28 (docs/gpu.md): timm eager, the best of torch.compile, all chains in tiles.
MEASURED = {
    ("H200-SXM", "eager"): 6697,
    ("H200-SXM", "compiled"): 12008,
    ("H200-SXM", "tiled"): 14964,
}
BOUNDS = ("compute", "memory", "L2", "launch")
TILED = "tiled"  # r2n_kernels with no chain in shared memory
SCHEDULES = (*LIBRARIES, TILED, "r2n_kernels")
INT8 = "int8"  # r2n_kernels with blocks in int8, of whose COMPUTE nothing is published


@dataclass(frozen=True)
class Time:
    """A Time is predicted seconds, and which of BOUNDS they are."""

    seconds: float
    bound: str


@dataclass(frozen=True)
class StepTime:
    """A StepTime predicts a step that runs alone. slow, fast: both ends of the prediction."""

    name: str
    op: str
    slow: Time
    fast: Time


@dataclass(frozen=True)
class Prediction:
    """A Prediction is of one forward pass. plans: one per tile of the library, otherwise alike."""

    device: Device
    schedule: str  # of SCHEDULES
    plans: tuple[Plan, ...]
    steps: tuple[StepTime, ...]

    @property
    def batch(self) -> int:
        return self.plans[0].batch

    @property
    def seconds(self) -> tuple[float, float]:
        """Return fast and slow seconds."""
        return sum(s.fast.seconds for s in self.steps), sum(s.slow.seconds for s in self.steps)

    @property
    def rates(self) -> tuple[float, float]:
        """Return images per second, low and high."""
        fast, slow = self.seconds
        return self.batch / slow, self.batch / fast

    @property
    def bytes_l2(self) -> tuple[int, int]:
        """Return bytes through L2, with the tiles that load least and most."""
        found = [plan.bytes_l2 for plan in self.plans]
        return min(found), max(found)


def predict(
    schedule: str, config: Res2NetConfig, batch: int, height: int, width: int, device: Device
) -> Prediction:
    """Predict a forward pass in float16. schedule: of SCHEDULES, or INT8."""
    plans = plans_for(schedule, config, batch, height, width, device)
    steps = zip(*(plan.main for plan in plans), strict=True)
    size = plans[0].itemsize
    times = (step_time(same, device, size(same[0])) for same in steps)
    return Prediction(device, schedule, plans, tuple(times))


def plans_for(
    schedule: str, config: Res2NetConfig, batch: int, height: int, width: int, device: Device
) -> tuple[Plan, ...]:
    """Plan for each tile that the library may take, the plain one first."""
    shape = (config, batch, height, width, torch.float16)
    if schedule not in LIBRARIES:
        target = TARGETS[device.target]
        if schedule == TILED:
            target = without_gluon(target, "to compare")
        int8 = None
        if schedule == INT8:  # a plan is the same for all scales
            blocks = (BlockScales(block.name, 1.0, 1.0, 1.0) for block in config.blocks())
            int8 = ActivationScales(1.0, tuple(blocks), "")
        return (build_plan(*shape, "triton", target=target, int8=int8),)
    tiles = LIBRARY_TILES.get(device.target, (PLAIN,))
    return tuple(library_plan(schedule, *shape, tile) for tile in tiles)


def step_time(same: Sequence[Step], device: Device, itemsize: int) -> StepTime:
    """Predict a step, which `same` holds once per tile of the library; see `time_of`."""
    slow = time_of(same[0], device, device.l2.low, itemsize)
    every = (time_of(step, device, device.l2.high, itemsize) for step in same)
    fast = min(every, key=lambda t: t.seconds)
    return StepTime(same[0].name, same[0].op, slow, fast)


def time_of(step: Step, device: Device, l2: float, itemsize: int) -> Time:
    """Return the longest of the step's parts.

    l2: bytes per second. itemsize: of what it reads: 1 is int8.
    """
    moved = step.bytes_read + step.bytes_written + step.weights * itemsize
    peak = device.int8 if itemsize == 1 else device.flops
    parts = {
        "compute": 2 * step.executed_macs / (COMPUTE * peak),
        "memory": moved / (MEMORY * device.bandwidth),
        "L2": step.bytes_l2 / (L2 * l2),
        "launch": LAUNCH * len(step.launches),
    }
    bound = max(parts, key=lambda name: parts[name])
    return Time(parts[bound], bound)


def residuals(
    found: Mapping[tuple[str, str], int] = MappingProxyType(PUBLISHED),
) -> list[tuple[int, Prediction]]:
    """Return (img/s that were found, prediction) for the headline model: published, or MEASURED."""
    config = VARIANTS[HEADLINE]
    return [
        (rate, predict(schedule, config, 256, 224, 224, DEVICES[name]))
        for (name, schedule), rate in found.items()
    ]
