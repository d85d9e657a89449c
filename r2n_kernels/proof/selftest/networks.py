"""Whole networks: against the reference, against themselves, from a graph, and how fast."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ...create import from_timm
from ...engine.precision import exact
from ...engine.triton_backend import TritonBackend
from ...measure.timing import interleave
from ..parity import check_parity
from .report import MEASURED, SKIPPED, Outcome, Result
from .setup import Setup
from .steps import severity

PARITY_BATCH = 2  # the reference runs on the CPU, where half precision is slow
ROUNDS = 15


def network_against_reference(setup: Setup, dtype: torch.dtype) -> Outcome:
    """Every feature map, the embedding and the logits."""
    batch = min(PARITY_BATCH, setup.batch)
    x = setup.images(batch, torch.float32).cpu()
    eager = setup.eager(setup.config)
    rows = check_parity(eager, x, dtype, backend="triton", device=str(setup.device))
    worst = max((row.verdict for row in rows), key=severity)
    return Outcome.of(
        all(row.verdict.passed for row in rows),
        f"error {worst.error:.1e}  limit {worst.limit:.1e}  in {worst.name}",
        error=worst.error, limit=worst.limit,
    )  # fmt: skip


def repeats_are_identical(setup: Setup, dtype: torch.dtype, schedule: str) -> Outcome:
    """A race between programs shows as a bit that changes from one forward to another."""
    backend, x = setup.backend(setup.config, dtype, schedule), setup.images(setup.batch, dtype)
    first = _outputs(setup, backend, x)
    repeats = (_outputs(setup, backend, x) for _ in range(setup.repeats - 1))
    different = sum(not _equal(first, outputs) for outputs in repeats)
    return Outcome.of(
        different == 0,
        f"{setup.repeats} forwards, different {different}",
        repeats=setup.repeats, different=different,
    )  # fmt: skip


def graph_equals_eager(setup: Setup, dtype: torch.dtype) -> Outcome:
    """A replayed CUDA graph gives the bits of plain launches."""
    if setup.device.type == "cpu":
        return Outcome(SKIPPED, "the interpreter has no CUDA graphs")
    x = setup.images(setup.batch, dtype)
    eager = _outputs(setup, setup.backend(setup.config, dtype), x)
    graphed = setup.backend(setup.config, dtype, graphs=(setup.batch,))
    # the first call runs plain launches, the second captures them, all later ones replay
    same = [_equal(eager, _outputs(setup, graphed, x)) for _ in range(3)]
    detail = "bit-identical" if all(same) else f"differs in calls {_numbers(same)} of 3"
    return Outcome.of(all(same), detail, different=same.count(False))


def throughput(setup: Setup, dtype: torch.dtype, earlier: list[Result]) -> Outcome:
    """Images a second of the kernels, of the torch backend, and of the eager reference."""
    if setup.device.type == "cpu":
        return Outcome(SKIPPED, "speed means nothing in the interpreter")
    failed = [result.name for result in earlier if result.failed]
    if failed:
        return Outcome(SKIPPED, f"no speed is shown of wrong results: {failed[0]}")
    x = setup.images(setup.batch, dtype).to(memory_format=torch.channels_last)
    eager = setup.eager(setup.config)
    networks = {
        name: from_timm(eager, backend=name, dtype=dtype, device=setup.device)
        for name in ("triton", "torch")
    }
    networks["eager"] = eager.to(setup.device, dtype, memory_format=torch.channels_last)
    with torch.no_grad(), exact(setup.device, dtype):
        subjects = {name: partial(network, x) for name, network in networks.items()}
        timed = interleave(subjects, ROUNDS, device=setup.device)
    rates = {name: setup.batch / samples.median for name, samples in timed.items()}
    shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    return Outcome(MEASURED, f"img/s, batch {setup.batch}: {shown}", rates)


def _outputs(setup: Setup, backend: TritonBackend, x: Tensor) -> list[Tensor]:
    """Feature maps and logits of one forward."""
    plan = setup.plan(backend, x.shape[0])
    backend.prepare(plan, x)
    return backend.run(plan, x, [*plan.features, "logits"])


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _numbers(same: list[bool]) -> str:
    return ", ".join(str(i) for i, good in enumerate(same, 1) if not good)
