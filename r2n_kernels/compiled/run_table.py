"""What runs showed, as text for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..emulator import Counters
from ..emulator.counters import SECTOR
from .run import Result
from .trial import Trial, Tried, Unit

COLUMNS = (
    ("kernel", "<13"), ("first step", "<14"), ("geometry", "<17"), ("tile", "<18"),
    ("batch", ">5"), ("run", ">3"), ("CTAs", ">5"), ("error", ">7"), ("limit", ">7"),
    ("MMACs", ">8"), ("instr", ">8"), ("L2 MB", ">7"), ("once MB", ">7"), ("load", ">5"),
    ("store", ">5"), ("conflicts", ">9"), ("s", ">6"),
)  # fmt: skip
LEGEND = """\
run: images that were run, for the batch that chose the kernel; error, limit: against the PyTorch
twin; MMACs: executed multiply-accumulates / 1e6; instr: of all warps; L2 MB: sectors moved between
SMs and L2; once MB: distinct bytes read and written; load, store: useful share of the sectors of
global memory; conflicts: share of shared memory's wavefronts"""
LOADS, STORES = ("ld", "cp.async"), ("st",)


def macs(counters: Counters) -> int:
    """Of tensor cores, and of float units where those multiply."""
    return counters.macs or counters.fmas


def efficiency(counters: Counters, kinds: Sequence[str]) -> float:
    """Useful share of the sectors that some kinds of access move."""
    found = [counters.global_[kind] for kind in kinds if kind in counters.global_]
    sectors = sum(traffic.sectors for traffic in found)
    return sum(traffic.useful for traffic in found) / (SECTOR * sectors) if sectors else 1.0


def conflicts(counters: Counters) -> float:
    """Share of shared memory's wavefronts that bank conflicts add."""
    wavefronts = sum(traffic.wavefronts for traffic in counters.shared.values())
    return sum(t.conflicts for t in counters.shared.values()) / wavefronts if wavefronts else 0.0


def unique_bytes(counters: Counters) -> int:
    """Distinct bytes of each argument, read and written."""
    return sum(read + written for read, written in counters.unique.values())


def table(results: Sequence[Result]) -> str:
    """One block a target: a line an instance, then what is wrong, with the line of source."""
    targets = dict.fromkeys(unit.request.target for unit, _, _ in results)
    blocks = (_block(t, [r for r in results if r[0].request.target == t]) for t in targets)
    return "\n\n".join([*blocks, LEGEND])


def _block(target: str, results: Sequence[Result]) -> str:
    lines = [f"{target}, executed", _line([title for title, _ in COLUMNS])]
    lines += [_line(_cells(*result)) for result in results]
    faults, notes = [], []
    for _, trial, tried in results:
        name = f"{trial.step} {trial.instance.name}"
        if isinstance(tried, str):
            faults.append(f"  {name}: {tried}")
            continue
        faults += [f"  {name}: {fault}" for fault in tried.faults]
        told = faults if tried.faults else notes
        told += [f"    {report}" for report in tried.reports[:3]]
    lines += [f"{target}: {len(faults)} lines of faults" if faults else f"{target}: no fault"]
    return "\n".join([*lines, *faults, *notes])


def _cells(unit: Unit, trial: Trial, tried: Tried | str) -> list[str]:
    instance = trial.instance
    cells = [instance.kernel, trial.step, instance.geometry, instance.tile]
    cells += [str(unit.request.batch)]
    if isinstance(tried, str):
        return [*cells, "does not run"]
    counters = tried.counters
    return [
        *cells, str(tried.images), str(tried.ctas), f"{tried.verdict.error:.1e}",
        f"{tried.verdict.limit:.1e}", f"{macs(counters) / 1e6:.1f}",
        str(counters.instructions.total()), f"{counters.global_bytes / 1e6:.2f}",
        f"{unique_bytes(counters) / 1e6:.2f}", f"{efficiency(counters, LOADS):.0%}",
        f"{efficiency(counters, STORES):.0%}", f"{conflicts(counters):.1%}",
        f"{tried.seconds:.2f}",
    ]  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    columns = zip(cells, COLUMNS, strict=False)
    return "  ".join(f"{cell:{style}}" for cell, (_, style) in columns).rstrip()


def record(result: Result) -> dict[str, Any]:
    """As JSON has it."""
    unit, trial, tried = result
    head = {
        "target": unit.request.target, "name": trial.instance.name, "step": trial.step,
        "batch": unit.request.batch, "order": unit.how.order, "seeds": list(unit.how.seeds),
    }  # fmt: skip
    if isinstance(tried, str):
        return {**head, "error": tried}
    counters, verdict = tried.counters, tried.verdict
    return {
        **head, "images": tried.images, "ctas": tried.ctas, "seconds": round(tried.seconds, 3),
        "passed": not tried.faults, "faults": list(tried.faults), "output": verdict.name,
        "relative_error": verdict.error, "eager_error": verdict.eager, "limit": verdict.limit,
        "reports": list(tried.reports), "report_counts": tried.report_counts,
        "macs": macs(counters), "l2_bytes": counters.global_bytes,
        "unique_bytes": {name: list(v) for name, v in _named(trial, counters).items()},
        "instructions": dict(counters.instructions.most_common()),
        "global": {
            kind: {**asdict(traffic), "efficiency": traffic.efficiency}
            for kind, traffic in counters.global_.items()
        },
        "shared": {kind: asdict(traffic) for kind, traffic in counters.shared.items()},
    }  # fmt: skip


def _named(trial: Trial, counters: Counters) -> dict[str, tuple[int, int]]:
    """Distinct bytes read and written by the argument's name."""
    return {trial.code.names[place]: moved for place, moved in counters.unique.items()}
