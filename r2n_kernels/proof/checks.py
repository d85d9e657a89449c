"""The self-test checks kernels against twins, whole networks against the reference, speed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..create import from_timm
from ..engine.precision import exact
from ..engine.triton_backend import TritonBackend
from ..measure.timing import interleave
from .networks import PARITY_BATCH, Setup
from .parity import check_parity
from .steps import Buffers, StepCase
from .tolerance import worst

OK, FAIL, SKIPPED, MEASURED = "ok", "FAIL", "skipped", "measured"
ROUNDS = 15


@dataclass(frozen=True)
class Outcome:
    """An Outcome is what a check found. status: "ok", "FAIL", "skipped", "measured" (no limit)."""

    status: str
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, passed: bool, detail: str, **figures: float) -> Outcome:
        return cls(OK if passed else FAIL, detail, figures)


def kernel_against_twin(setup: Setup, op: str, dtype: torch.dtype) -> Outcome:
    """Hold all steps of one op to their twins, on the data that reaches them in a network."""
    verdicts = [case.verdict() for case in setup.cases(op, dtype)]
    if not verdicts:
        return Outcome(FAIL, "no step of the test's networks runs it")
    found = worst(verdicts)
    return Outcome.of(
        all(verdict.passed for verdict in verdicts),
        f"error {found.error:.1e}  limit {found.limit:.1e}  steps {len(verdicts)}",
        error=found.error, limit=found.limit, steps=len(verdicts),
    )  # fmt: skip


def chained_equals_split(setup: Setup, dtype: torch.dtype) -> Outcome:
    """Compare the stage kernel's two schedules with the same tile: the bits must be the same."""
    different, steps = [], 0
    for case in setup.distinct_cases("stage", dtype):
        steps += 1
        chained, split = (_run_stage(case, chained) for chained in (True, False))
        if not all(torch.equal(chained[name], split[name]) for name in case.step.writes):
            different.append(f"{case.step.name} of batch {case.plan.batch}")
    return Outcome.of(
        not different,
        f"differs: {', '.join(different)}" if different else f"bit-identical, geometries {steps}",
        geometries=steps, different=len(different),
    )  # fmt: skip


def _run_stage(case: StepCase, chained: bool) -> Buffers:
    options = {**case.step.options, "chained": chained}
    return dataclasses.replace(case, step=dataclasses.replace(case.step, options=options)).run()


def network_against_reference(setup: Setup, dtype: torch.dtype) -> Outcome:
    """Hold every feature map, the embedding and the logits to eager PyTorch's."""
    x = setup.images(min(PARITY_BATCH, setup.batch), torch.float32).cpu()
    rows = check_parity(setup.eager(), x, dtype, backend="triton", device=str(setup.device))
    found = worst(row.verdict for row in rows)
    return Outcome.of(
        all(row.verdict.passed for row in rows),
        f"error {found.error:.1e}  limit {found.limit:.1e}  in {found.name}",
        error=found.error, limit=found.limit,
    )  # fmt: skip


def repeats_are_identical(setup: Setup, dtype: torch.dtype, schedule: str) -> Outcome:
    """Repeat a forward: a race between programs shows as a bit that changes."""
    backend, x = setup.backend(dtype, schedule), setup.images(setup.batch, dtype)
    first = _outputs(backend, x)
    repeats = (_outputs(backend, x) for _ in range(setup.repeats - 1))
    different = sum(not _equal(first, outputs) for outputs in repeats)
    return Outcome.of(
        different == 0,
        f"{setup.repeats} forwards, different {different}",
        repeats=setup.repeats, different=different,
    )  # fmt: skip


def graph_equals_eager(setup: Setup, dtype: torch.dtype) -> Outcome:
    """Replay a CUDA graph: it gives the bits of plain launches."""
    if setup.device.type == "cpu":
        return Outcome(SKIPPED, "the interpreter has no CUDA graphs")
    x = setup.images(setup.batch, dtype)
    eager = _outputs(setup.backend(dtype), x)
    graphed = setup.backend(dtype, graphs=(setup.batch,))
    # the first call runs plain launches, the second captures them, all later ones replay
    same = [_equal(eager, _outputs(graphed, x)) for _ in range(3)]
    wrong = ", ".join(str(i) for i, good in enumerate(same, 1) if not good)
    detail = f"differs in calls {wrong} of 3" if wrong else "bit-identical"
    return Outcome.of(all(same), detail, different=same.count(False))


def throughput(setup: Setup, dtype: torch.dtype, failed: Sequence[str]) -> Outcome:
    """Count the images per second of the kernels, the torch backend and the eager reference.

    failed: names of checks that did.
    """
    if setup.device.type == "cpu":
        return Outcome(SKIPPED, "speed means nothing in the interpreter")
    if failed:
        return Outcome(SKIPPED, f"no speed is shown of wrong results: {failed[0]}")
    x = setup.images(setup.batch, dtype).to(memory_format=torch.channels_last)
    eager = setup.eager()
    networks: dict[str, torch.nn.Module] = {
        name: from_timm(eager, backend=name, dtype=dtype, device=setup.device)
        for name in ("triton", "torch")
    }
    networks["eager"] = eager.to(setup.device, dtype).to(memory_format=torch.channels_last)
    with torch.no_grad(), exact(setup.device, dtype):
        subjects = {name: partial(network, x) for name, network in networks.items()}
        timed = interleave(subjects, ROUNDS, device=setup.device)
    rates = {name: setup.batch / samples.median for name, samples in timed.items()}
    shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return Outcome(MEASURED, f"img/s, batch {setup.batch}: {shown}", rates)


def _outputs(backend: TritonBackend, x: Tensor) -> list[Tensor]:
    """Return the feature maps and logits of one forward."""
    plan = backend.plan(x.shape[0], *x.shape[2:])
    backend.prepare(plan, x)
    return backend.run(plan, x, [*plan.features, "logits"])


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
