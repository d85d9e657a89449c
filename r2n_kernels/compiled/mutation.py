"""Each mutant of an instance drops or weakens one synchronisation, and should be reported.

A mutant that is reported in no order, and yet gives other numbers than the code does, is a hole in
the race detector. One that is not reported and changes nothing was not needed: as a rule another
barrier stands in the same gap.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..emulator import ADVISORY, SCHEDULES, EmulationError, mutants
from ..proof.steps import Buffers, StepCase
from .run import Emulation, Executable, Work, step_cases

CTAS = 2  # that are run: others synchronise alike


@dataclass(frozen=True)
class Mutated:
    """Mutated is the result of one mutant. findings: kinds of reports, in all orders."""

    change: str  # "no bar.sync"
    source: str  # "stage.py:84"
    line: int  # of the PTX
    verdict: str  # reported, harmless or HOLE
    findings: Mapping[str, int]


def run_mutants(work: Work) -> list[list[Mutated]]:
    """Return the mutants of each executable, run in every order; those of the work do not count."""
    return [_every_mutant(case, executable) for executable, case in step_cases(work)]


def _every_mutant(case: StepCase, executable: Executable) -> list[Mutated]:
    right, _ = _run(case, executable, SCHEDULES[0])
    found = []
    for mutant in mutants(executable.code.ptx):
        code = dataclasses.replace(executable.code, ptx=mutant.text)
        changed, hole = dataclasses.replace(executable, code=code), False
        findings: Counter[str] = Counter()
        for order in SCHEDULES:
            ours, reports = _run(case, changed, order)
            hole |= not reports and any(_differ(ours[name], right[name]) for name in right)
            findings += reports
        verdict = "HOLE" if hole else "reported" if findings else "harmless"
        found.append(
            Mutated(mutant.description, mutant.source, mutant.line, verdict, dict(findings))
        )
    return found


def _run(case: StepCase, executable: Executable, order: str) -> tuple[Buffers, Counter[str]]:
    """Return the buffers after the launches, none if one was illegal, and kinds of reports."""
    run = Emulation(executable, order, programs=CTAS)
    buffers: Buffers = {}
    illegal: Counter[str] = Counter()
    try:
        buffers = case.run(run)
    except EmulationError:
        illegal["illegal"] = 1
    reports = sum((counters.report_counts for counters in run.counters), Counter()) + illegal
    return buffers, Counter({kind: n for kind, n in reports.items() if kind not in ADVISORY})


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return not torch.equal(one.view(torch.uint8), other.view(torch.uint8))
