"""Would a missing barrier be seen? Every synchronisation of an instance, dropped or weakened.

A mutant that is reported by no order, and yet gives other numbers than the code does, is a hole in
the race detector. One that is not reported and changes nothing was not needed: as a rule another
barrier stands in the same gap.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..emulator import ADVISORY, SCHEDULES, EmulationError
from ..emulator.mutate import mutants
from ..engine.triton_ops import bind
from ..proof.selftest.steps import Buffers
from .instances import specialise
from .launcher import Code, arguments, translate
from .trial import Prepared, Unit, prepare

CTAS = 2  # that are run: others synchronise alike


@dataclass(frozen=True)
class Mutated:
    """findings: kinds of reports in all orders. verdict: reported, harmless or HOLE."""

    change: str  # "no bar.sync"
    source: str  # "stage.py:84"
    line: int  # of the PTX
    verdict: str
    findings: Mapping[str, int]


def run_mutants(unit: Unit) -> list[list[Mutated]]:
    """For each trial of the unit, on noise. Its order and seeds do not matter."""
    return [_every_mutant(unit, prepared) for prepared in prepare(unit)]


def _every_mutant(unit: Unit, prepared: Prepared) -> list[Mutated]:
    code = prepared.trial.code
    right, _ = _outputs(unit, prepared, code, SCHEDULES[0])
    found = []
    for mutant in mutants(code.ptx):
        changed, findings, holes = dataclasses.replace(code, ptx=mutant.text), Counter(), 0
        for order in SCHEDULES:
            ours, reports = _outputs(unit, prepared, changed, order)
            same = all(torch.equal(_bits(ours[name]), _bits(right[name])) for name in right)
            holes += not same and not reports
            findings += reports
        verdict = "HOLE" if holes else "reported" if findings else "harmless"
        found.append(
            Mutated(mutant.description, mutant.source, mutant.line, verdict, dict(findings))
        )
    return found


def _outputs(
    unit: Unit, prepared: Prepared, code: Code, order: str
) -> tuple[Buffers, Counter[str]]:
    """The step's buffers after its launches, and kinds of what was found."""
    buffers = {name: tensor.clone() for name, tensor in prepared.buffers.items()}
    reports: Counter[str] = Counter()
    for call in bind(prepared.step, buffers, prepared.weights).calls():
        given = arguments(specialise(call, unit.request.target), call)
        ctas = range(min(CTAS, call.grid))
        try:
            counters = translate(code).run(
                (call.grid,), given, schedule=order, strict=False, ctas=ctas
            )
        except EmulationError:
            reports["illegal"] += 1
            break
        reports += counters.report_counts
    return buffers, Counter({k: n for k, n in reports.items() if k not in ADVISORY})


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8)
