"""Instances spread over workers, and their results in the order in which they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import KernelError
from .inspection import Row
from .instances import Request
from .launcher import Code
from .pool import Pool
from .trial import How, Trial, Unit, run_unit

Result = tuple[Unit, Trial, Any]  # what came of a trial; the text of an error where none came


def units(requests: Sequence[Request], rows: Sequence[Row], how: How) -> list[Unit]:
    """One a compiled instance, or one a request where steps depend on each other's data."""
    by_use = {(request.target, request.batch): request for request in requests}
    trials: dict[Request, list[Trial]] = {}
    for row in rows:
        if row.compiled is not None:
            request = by_use[row.instance.target, row.uses[0].batch]
            code = Code.of(row.instance, row.compiled)
            trials.setdefault(request, []).append(Trial(row.instance, code, row.step))
    if how.data is not None:
        return [Unit(request, tuple(found), how) for request, found in trials.items()]
    return [Unit(request, (trial,), how) for request, found in trials.items() for trial in found]


def execute(
    work: Sequence[Unit], pool: Pool, function: Callable[[Unit], list] = run_unit,
    done: Callable[[int], None] = lambda trials: None,
) -> list[Result]:  # fmt: skip
    """function(unit) for each, in workers. done(trials) tells progress."""
    answers = {}
    for unit, answer in pool.map(function, work):
        failed = isinstance(answer, KernelError)
        answers[unit] = [str(answer)] * len(unit.trials) if failed else answer
        done(len(unit.trials))
    return [
        (unit, trial, result)
        for unit in work
        for trial, result in zip(unit.trials, answers[unit], strict=True)
    ]
