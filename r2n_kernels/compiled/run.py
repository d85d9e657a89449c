"""The emulator runs instances on the steps that launch them, against the steps' PyTorch twins.

`work_of` cuts what is to be run into pieces and `execute` spreads these over worker processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..emulator import Counters, merge
from ..emulator.counters import SECTOR
from ..errors import InputError, KernelError
from ..kernels.call import Calls
from ..proof.steps import StepCase, cases
from ..proof.tolerance import Verdict, worst
from .inspection import Inspected
from .instances import Instance, Request, plan_of, specialise
from .launcher import Code, translate
from .pool import Pool

IMAGES = 2  # that stand for a larger batch: enough to see one image touch another
LOADS, STORES = ("ld", "cp.async"), ("st",)  # kinds of access to global memory

T = TypeVar("T")

_cached_plan = lru_cache(maxsize=8)(plan_of)


@dataclass(frozen=True)
class RunOptions:
    """RunOptions say how instances are run.

    order: of warps, of emulator.SCHEDULES. seeds: one run each. data: a file of images for the
    whole network, of which the twins make each step's data; without one, steps get seeded noise.
    """

    order: str = "lockstep"
    seeds: tuple[int, ...] = (0,)
    data: str | None = None


@dataclass(frozen=True)
class Executable:
    """It has an instance, its code, and the first step of the request's plan that launches it."""

    instance: Instance
    code: Code
    step: str


@dataclass(frozen=True)
class Work:
    """Work is what a worker does in one go."""

    request: Request
    executables: tuple[Executable, ...]
    options: RunOptions


@dataclass(frozen=True)
class RunResult:
    """A RunResult is the result of running one instance.

    verdict: the worst of the seeds. counters, ctas: of the step's launches, with the first seed.
    """

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
class Outcome(Generic[T]):
    """An Outcome is what a worker's function found of an executable, or the error instead."""

    request: Request
    options: RunOptions
    executable: Executable
    found: T | None
    error: str = ""

    @property
    def instance(self) -> Instance:
        return self.executable.instance

    @property
    def step(self) -> str:
        return self.executable.step


def work_of(
    requests: Sequence[Request], inspected: Sequence[Inspected], options: RunOptions
) -> list[Work]:
    """Return one piece per compiled instance; one per request where steps share their data."""
    by_use = {(request.target, request.batch): request for request in requests}
    found: dict[Request, list[Executable]] = {}
    for one in inspected:
        if one.compiled is not None:
            request = by_use[one.instance.target, one.sites[0].batch]
            executable = Executable(one.instance, Code.of(one.instance, one.compiled), one.step)
            found.setdefault(request, []).append(executable)
    if options.data is not None:
        return [Work(request, tuple(every), options) for request, every in found.items()]
    return [Work(request, (one,), options) for request, every in found.items() for one in every]


def execute(
    work: Sequence[Work], pool: Pool, function: Callable[[Work], list[T]],
    done: Callable[[int], None] = lambda count: None,
) -> list[Outcome[T]]:  # fmt: skip
    """Return function(work)'s results, computed in workers. done(executables) tells progress."""
    answers = {}
    for piece, answer in pool.map(function, work):
        answers[piece] = answer
        done(len(piece.executables))
    found = []
    for piece in work:
        count, answer = len(piece.executables), answers[piece]
        failed = isinstance(answer, KernelError)
        results, error = ([None] * count, str(answer)) if failed else (answer, "")
        for executable, result in zip(piece.executables, results, strict=True):
            found.append(Outcome(piece.request, piece.options, executable, result, error))
    return found


def run_work(work: Work) -> list[RunResult]:
    """Run each executable on its step.

    Raises InputError for data that does not fit, and EmulationError for what cannot run.
    """
    return [_run(case, executable, work.options) for executable, case in step_cases(work)]


def step_cases(work: Work) -> Iterator[tuple[Executable, StepCase]]:
    """Yield the work's executables, each with its step and data, in the order of the plan."""
    request, data = work.request, work.options.data
    images = None if data is None else read_images(data, request)
    plan = _cached_plan(request, min(request.batch, IMAGES) if images is None else len(images))
    wanted = {executable.step: executable for executable in work.executables}
    for case in cases(plan, only=lambda step: step.name in wanted, images=images):
        yield wanted[case.step.name], case


@dataclass
class Emulation:
    """An Emulation runs a StepCase: it emulates each launch, and keeps what the launches counted.

    programs: the most CTAs of a launch that are run; None for all.
    """

    executable: Executable
    order: str
    seed: int = 0
    programs: int | None = None
    counters: list[Counters] = field(default_factory=list)
    ctas: int = 0

    def __call__(self, calls: Calls) -> None:
        code, expected = self.executable.code, self.executable.instance
        for call in calls:
            instance = specialise(call, expected.target)
            if instance != expected:
                step = self.executable.step
                raise KernelError(f"{step} launches {instance.name} on fewer images")
            ctas = None if self.programs is None else range(min(self.programs, call.grid))
            self.counters.append(
                translate(code).run(
                    (call.grid,), code.arguments(call), schedule=self.order, seed=self.seed,
                    strict=False, ctas=ctas,
                )
            )  # fmt: skip
            self.ctas += call.grid


def _run(case: StepCase, executable: Executable, options: RunOptions) -> RunResult:
    start = time.perf_counter()
    runs = [Emulation(executable, options.order, seed) for seed in options.seeds]
    verdict = worst(case.verdict(run) for run in runs)
    every = merge(counters for run in runs for counters in run.counters)
    reports = tuple(dict.fromkeys(map(str, every.reports)))
    return RunResult(
        verdict, merge(runs[0].counters), reports, dict(every.report_counts), case.plan.batch,
        runs[0].ctas, time.perf_counter() - start,
    )  # fmt: skip


def read_images(path: str, request: Request) -> Tensor:
    """Return [N, C, H, W] of a .npy file, in the request's dtype. Raises InputError."""
    try:
        array: Any = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no .npy file of numbers: {error}") from error
    expected = (request.config.in_chans, request.height, request.width)
    if array.ndim != 4 or array.shape[1:] != expected or array.dtype.kind != "f":
        raise InputError(
            f"{path}: expected floats of shape [N, {', '.join(map(str, expected))}], got "
            f"{array.dtype} {list(array.shape)}"
        )
    return torch.from_numpy(np.ascontiguousarray(array)).to(request.dtype)


def macs(counters: Counters) -> int:
    """Return multiply-accumulates of tensor cores; of float units where those multiply."""
    return counters.macs or counters.fmas


def efficiency(counters: Counters, kinds: Sequence[str]) -> float:
    """Return the useful share of the sectors that some kinds of access move."""
    found = [counters.global_[kind] for kind in kinds if kind in counters.global_]
    sectors = sum(traffic.sectors for traffic in found)
    return sum(traffic.useful for traffic in found) / (SECTOR * sectors) if sectors else 1.0


def conflicts(counters: Counters) -> float:
    """Return the share of shared memory's wavefronts that bank conflicts add."""
    wavefronts = sum(traffic.wavefronts for traffic in counters.shared.values())
    return sum(t.conflicts for t in counters.shared.values()) / wavefronts if wavefronts else 0.0


def unique_bytes(counters: Counters) -> int:
    """Return the distinct bytes of all arguments, read and written."""
    return sum(read + written for read, written in counters.unique.values())
