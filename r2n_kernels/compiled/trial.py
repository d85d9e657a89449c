"""Instances run on the steps of a plan that launch them, against the steps' PyTorch twins.

Runs in a worker process (compiled.pool), which imports Triton and torch once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..emulator import Counters, merge
from ..engine.triton_ops import allocate
from ..errors import InputError, KernelError
from ..fold import fold
from ..fold.triton_layout import PackedConv, pack_network
from ..kernels.call import Calls
from ..kernels.targets import TARGETS
from ..plan import Plan, Step, cached_plan
from ..proof.selftest.steps import (
    Buffers,
    Weights,
    against_twin,
    random_buffers,
    run_twin,
    severity,
)
from ..proof.tolerance import Verdict
from ..reference import Res2Net, randomize
from .instances import Instance, Request, specialise
from .launcher import Code, arguments, translate

IMAGES = 2  # that stand for a larger batch: enough to see one image touch another


@dataclass(frozen=True)
class How:
    """How to run. order: of emulator.SCHEDULES; one run a seed; data: a file of images, or None.

    Without data every step gets noise of its own; with it, what the twins made of the images.
    """

    order: str = "lockstep"
    seeds: tuple[int, ...] = (0,)
    track: bool = True
    data: str | None = None


@dataclass(frozen=True)
class Trial:
    """An instance, its code, and the first step of the request's plan that launches it."""

    instance: Instance
    code: Code
    step: str


@dataclass(frozen=True)
class Unit:
    """What a worker does at once."""

    request: Request
    trials: tuple[Trial, ...]
    how: How


@dataclass(frozen=True)
class Tried:
    """What came of it. verdict: the worst of the seeds; counters: of the step's launches, once."""

    verdict: Verdict
    counters: Counters
    reports: tuple[str, ...]
    report_counts: dict[str, int]
    images: int
    ctas: int
    seconds: float

    @property
    def faults(self) -> tuple[str, ...]:
        found = []
        if not self.verdict.passed:
            v = self.verdict
            found.append(f"wrong: error {v.error:.1e} in {v.name}, limit {v.limit:.1e}")
        found += (f"{n} {kind}" for kind, n in self.report_counts.items() if kind != "serialized")
        return tuple(found)


@dataclass(frozen=True)
class Prepared:
    """A trial with its step and data."""

    trial: Trial
    step: Step
    buffers: Buffers
    weights: Weights
    images: int


def run_unit(unit: Unit) -> list[Tried]:
    """Raises InputError for data that does not fit, and EmulationError for what cannot run."""
    return [_try(unit, prepared) for prepared in prepare(unit)]


def prepare(unit: Unit) -> Iterator[Prepared]:
    """The unit's trials, in the order of the plan."""
    request, cpu = unit.request, torch.device("cpu")
    images = None if unit.how.data is None else read_images(unit.how.data, request)
    plan = _plan(request, min(request.batch, IMAGES) if images is None else len(images))
    weights = _weights(request.config, request.dtype)
    wanted = {trial.step: trial for trial in unit.trials}
    if images is not None:
        buffers = {"input": images, **{k: v.zero_() for k, v in allocate(plan, cpu).items()}}
    for step in plan.steps:
        if step.name in wanted:
            data = random_buffers(plan, step, cpu) if images is None else buffers
            yield Prepared(wanted[step.name], step, data, weights, plan.batch)
        if images is not None:
            run_twin(step, buffers, weights)


class _Run:
    """Launches of a trial's step with one seed, and what they counted."""

    def __init__(self, unit: Unit, trial: Trial, seed: int) -> None:
        self.unit, self.trial, self.seed = unit, trial, seed
        self.counters: list[Counters] = []
        self.ctas = 0

    def __call__(self, calls: Calls) -> None:
        how, kernel = self.unit.how, translate(self.trial.code)
        for call in calls:
            instance = specialise(call, self.unit.request.target)
            if instance != self.trial.instance:
                raise KernelError(f"{self.trial.step} launches {instance.name} on fewer images")
            self.counters.append(
                kernel.run(
                    (call.grid,), arguments(instance, call), schedule=how.order, seed=self.seed,
                    strict=False, track=how.track,
                )
            )  # fmt: skip
            self.ctas += call.grid


def _try(unit: Unit, prepared: Prepared) -> Tried:
    start, p = time.perf_counter(), prepared
    runs = [_Run(unit, p.trial, seed) for seed in unit.how.seeds]
    verdicts = [against_twin(p.step, p.buffers, p.weights, unit.request.dtype, run) for run in runs]
    every = merge(counters for run in runs for counters in run.counters)
    reports = tuple(dict.fromkeys(map(str, every.reports)))
    return Tried(
        max(verdicts, key=severity), merge(runs[0].counters), reports, dict(every.report_counts),
        p.images, runs[0].ctas, time.perf_counter() - start,
    )  # fmt: skip


def _plan(request: Request, images: int) -> Plan:
    return cached_plan(
        request.config, images, request.height, request.width, request.dtype, "triton",
        target=TARGETS[request.target], schedule=request.schedule, as_batch=request.batch,
    )  # fmt: skip


@lru_cache(maxsize=2)
def _weights(config: Res2NetConfig, dtype: torch.dtype) -> dict[str, PackedConv]:
    """Seeded random ones, BatchNorm statistics too."""
    state = randomize(Res2Net(config).eval()).state_dict()
    return pack_network(config, fold(config, state, torch.float32), state, dtype)


def read_images(path: str, request: Request) -> Tensor:
    """[N, C, H, W] of a .npy file, in the request's dtype. Raises InputError."""
    try:
        array = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no .npy file of numbers: {error}") from error
    expected = (request.config.in_chans, request.height, request.width)
    if array.ndim != 4 or array.shape[1:] != expected or array.dtype.kind != "f":
        raise InputError(
            f"{path}: expected floats of shape [N, {', '.join(map(str, expected))}], got "
            f"{array.dtype} {list(array.shape)}"
        )
    return torch.from_numpy(np.ascontiguousarray(array)).to(request.dtype)
