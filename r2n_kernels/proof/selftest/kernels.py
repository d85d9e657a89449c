"""Every kernel against its twin, on the steps of whole networks with the data that reaches them."""

from __future__ import annotations

import dataclasses

import torch

from ...engine.triton_ops import allocate, bind
from ...kernels.call import launch
from ...kernels.op import all_ops
from ...plan import Step, build_plan
from .report import FAIL, Outcome
from .setup import Case, Setup
from .steps import against_twin, random_buffers, run_twin, severity


def ops_of(setup: Setup) -> list[str]:
    """Return every op: those of the test's networks in the order in which they run, then others."""
    size = setup.size
    plans = (build_plan(c.config, c.batch, size, size, backend="triton") for c in setup.cases)
    return list(dict.fromkeys([step.op for plan in plans for step in plan.steps] + [*all_ops()]))


def kernel_against_twin(setup: Setup, op: str, dtype: torch.dtype) -> Outcome:
    """All steps of one op; its worst error. Later steps read what the twins made."""
    verdicts = []
    for case in setup.cases:
        verdicts += _steps_of(setup, case, op, dtype)
    if not verdicts:
        return Outcome(FAIL, "no step of the test's networks runs it")
    worst = max(verdicts, key=severity)
    return Outcome.of(
        all(verdict.passed for verdict in verdicts),
        f"error {worst.error:.1e}  limit {worst.limit:.1e}  steps {len(verdicts)}",
        error=worst.error, limit=worst.limit, steps=len(verdicts),
    )  # fmt: skip


def _steps_of(setup: Setup, case: Case, op: str, dtype: torch.dtype):
    backend = setup.backend(case.config, dtype, case.schedule)
    plan = setup.plan(backend, case.batch)
    if op not in {step.op for step in plan.steps}:
        return
    # zeros: an element that is never written differs from the twin's
    buffers = {name: tensor.zero_() for name, tensor in allocate(plan, setup.device).items()}
    buffers["input"] = setup.images(case.batch, dtype)
    for step in plan.steps:
        if step.op == op:
            yield against_twin(step, buffers, backend.weights, dtype)
        run_twin(step, buffers, backend.weights)


def chained_equals_split(setup: Setup, dtype: torch.dtype) -> Outcome:
    """The stage kernel's two schedules with the same tile, at every geometry: the same bits."""
    different, steps = [], 0
    for case in setup.cases:
        backend = setup.backend(case.config, dtype, case.schedule)
        plan = setup.plan(backend, case.batch)
        geometries = {step.options["layout"]: step for step in plan.steps if step.op == "stage"}
        for step in geometries.values():
            steps += 1
            start = random_buffers(plan, step, setup.device)
            chained, split = (
                _run_stage(step, start, backend.weights, chained) for chained in (True, False)
            )
            if not all(torch.equal(chained[name], split[name]) for name in step.writes):
                different.append(f"{step.name} of batch {case.batch}")
    return Outcome.of(
        not different,
        f"differs: {', '.join(different)}" if different else f"bit-identical, geometries {steps}",
        geometries=steps, different=len(different),
    )  # fmt: skip


def _run_stage(step: Step, start, weights, chained: bool):
    buffers = {name: tensor.clone() for name, tensor in start.items()}
    step = dataclasses.replace(step, options={**step.options, "chained": chained})
    launch(bind(step, buffers, weights).calls())
    return buffers
