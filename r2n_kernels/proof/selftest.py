"""`r2n selftest` tells whether every kernel computes the right thing on this machine.

The checks run one after the other, and each becomes a line. This imports Triton, which
`import r2n_kernels` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..engine.triton_target import current
from . import checks
from .checks import FAIL, Outcome
from .networks import Setup, default_setup, full_setup

__all__ = ["Check", "CheckResult", "default_setup", "full_setup", "list_checks", "run_checks"]


@dataclass(frozen=True)
class Check:
    """A Check has a name, and has not run yet."""

    name: str
    run: Callable[[], Outcome]


@dataclass(frozen=True)
class CheckResult:
    """A CheckResult is a check's name and its outcome: one line of the report."""

    name: str
    outcome: Outcome

    @property
    def failed(self) -> bool:
        return self.outcome.status == FAIL

    def __str__(self) -> str:
        return f"{self.name:32} {self.outcome.detail:46} {self.outcome.status}"

    def as_json(self) -> dict[str, object]:
        outcome = self.outcome
        return {"check": self.name, "status": outcome.status, "detail": outcome.detail,
                "figures": dict(outcome.figures)}  # fmt: skip


def list_checks(setup: Setup, earlier: Sequence[CheckResult]) -> Iterator[Check]:
    """Yield the checks in the order in which they say most: kernels, networks, repeats, speed.

    earlier: the caller's growing list of results; no speed is measured where one of them failed.
    """

    def check(what: str, dtype: torch.dtype, run: Callable[..., Outcome], *args: object) -> Check:
        name = f"{what:22} {str(dtype).removeprefix('torch.')}"
        return Check(name, partial(_on_device, setup, run, *args))

    def speed(setup: Setup, dtype: torch.dtype) -> Outcome:
        return checks.throughput(setup, dtype, [r.name for r in earlier if r.failed])

    for dtype in setup.dtypes:
        for op in setup.ops(dtype):
            yield check(f"kernel {op}", dtype, checks.kernel_against_twin, op, dtype)
    for dtype in setup.dtypes:
        yield check("chained = split", dtype, checks.chained_equals_split, dtype)
    for dtype in setup.dtypes:
        yield check("network = reference", dtype, checks.network_against_reference, dtype)
    for dtype in setup.dtypes:
        for schedule in ("throughput", "latency"):
            run = checks.repeats_are_identical
            yield check(f"repeats, {schedule}", dtype, run, dtype, schedule)
    for dtype in setup.dtypes:
        yield check("graph = eager", dtype, checks.graph_equals_eager, dtype)
    for dtype in setup.dtypes:
        yield check("speed", dtype, speed, dtype)


def _on_device(setup: Setup, run: Callable[..., Outcome], *args: object) -> Outcome:
    """Run a check with the device current, where Triton launches and the timer waits."""
    with current(setup.device):
        return run(setup, *args)


def run_checks(checks: Iterable[Check]) -> Iterator[CheckResult]:
    """Run each check in turn; one that raises has failed, and the others still run."""
    for check in checks:
        try:
            outcome = check.run()
        # Whatever a strange GPU, driver or compiler raises belongs in the report, beside what the
        # other checks found. Ctrl-C is no Exception, and ends the run.
        except Exception as error:  # noqa: BLE001
            reason = " ".join(str(error).split()) or "no message"
            outcome = Outcome(FAIL, f"{type(error).__name__}: {reason[:200]}")
        yield CheckResult(check.name, outcome)
