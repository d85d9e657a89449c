"""Mutations as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .run import Result


def table(results: Sequence[Result]) -> str:
    """An instance, then a line for each of its mutants; totals at the end."""
    lines, verdicts = [], Counter()
    for unit, trial, found in results:
        lines.append(f"{unit.request.target}  {trial.step}  {trial.instance.name}")
        if isinstance(found, str):
            lines.append(f"  does not run: {found}")
            continue
        for mutant in found:
            verdicts[mutant.verdict] += 1
            kinds = ", ".join(f"{count} {kind}" for kind, count in mutant.findings.items())
            place = f"{mutant.change} (PTX line {mutant.line}, {mutant.source})"
            lines.append(f"  {mutant.verdict:9} {place:70} {kinds}".rstrip())
    totals = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    lines.append(f"{verdicts.total()} mutants: {totals or 'none'}")
    return "\n".join(lines)


def record(result: Result) -> dict[str, Any]:
    unit, trial, found = result
    head = {
        "target": unit.request.target, "name": trial.instance.name, "step": trial.step,
        "batch": unit.request.batch,
    }  # fmt: skip
    if isinstance(found, str):
        return {**head, "error": found}
    return {**head, "mutants": [asdict(mutant) for mutant in found]}
