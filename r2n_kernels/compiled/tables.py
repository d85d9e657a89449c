"""Inspections, runs and mutations are shown here: as text for people, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .inspection import Inspected
from .mutation import Mutated
from .run import (
    LOADS,
    STORES,
    Outcome,
    RunResult,
    conflicts,
    efficiency,
    macs,
    unique_bytes,
)

# title, format and value; the first ones are known of every instance, the rest of what succeeded
Column = tuple[str, str, Callable[[Any], object]]

ANY: tuple[Column, ...] = (
    ("kernel", "<13", lambda one: one.instance.kernel),
    ("first step", "<14", lambda one: one.step),
    ("geometry", "<17", lambda one: " ".join(one.instance.geometry)),
    ("tile", "<18", lambda one: " ".join(one.instance.tile)),
)
INSPECTED: tuple[Column, ...] = (
    *ANY,
    ("warps", ">5", lambda one: one.instance.warps),
    ("batch", ">5", lambda one: ",".join(str(site.batch) for site in one.sites)),
    ("uses", ">4", lambda one: sum(site.launches for site in one.sites)),
)
COMPILED: tuple[Column, ...] = (
    ("regs", ">4", lambda one: one.compiled.facts.registers),
    ("spill", ">5", lambda one: one.compiled.facts.spill),
    ("smem", ">6", lambda one: one.compiled.facts.shared),
    ("mma", ">4", lambda one: sum(one.compiled.facts.tensor_cores.values())),
    ("loads", ">12", lambda one: _widths(one.compiled.facts.loads)),
    ("stores", ">7", lambda one: _widths(one.compiled.facts.stores)),
    ("CTAs", ">4", lambda one: one.occupancy.ctas),
    ("full", ">4", lambda one: f"{one.occupancy.warps:.0%}"),
    ("limit", "<9", lambda one: one.occupancy.limit),
)
INSPECTED_LEGEND = """\
uses: launches in all forward passes; regs: registers a thread; spill: bytes a thread;
smem: bytes a CTA; mma: tensor-core instructions; loads, stores: instructions x bytes a thread, of
global memory; CTAs: per SM, at most; full: share of its warps; limit: why not more"""
TO_RUN: tuple[Column, ...] = (*ANY, ("batch", ">5", lambda run: run.request.batch))
RUN: tuple[Column, ...] = (
    ("run", ">3", lambda run: run.found.images),
    ("CTAs", ">5", lambda run: run.found.ctas),
    ("error", ">7", lambda run: f"{run.found.verdict.error:.1e}"),
    ("limit", ">7", lambda run: f"{run.found.verdict.limit:.1e}"),
    ("MMACs", ">8", lambda run: f"{macs(run.found.counters) / 1e6:.1f}"),
    ("instr", ">8", lambda run: run.found.counters.instructions.total()),
    ("L2 MB", ">7", lambda run: f"{run.found.counters.global_bytes / 1e6:.2f}"),
    ("once MB", ">7", lambda run: f"{unique_bytes(run.found.counters) / 1e6:.2f}"),
    ("load", ">5", lambda run: f"{efficiency(run.found.counters, LOADS):.0%}"),
    ("store", ">5", lambda run: f"{efficiency(run.found.counters, STORES):.0%}"),
    ("conflicts", ">9", lambda run: f"{conflicts(run.found.counters):.1%}"),
    ("s", ">6", lambda run: f"{run.found.seconds:.2f}"),
)
RUN_LEGEND = """\
run: images that were run, for the batch that chose the kernel; error, limit: against the PyTorch
twin; MMACs: executed multiply-accumulates / 1e6; instr: of all warps; L2 MB: sectors moved between
SMs and L2; once MB: distinct bytes read and written; load, store: useful share of the sectors of
global memory; conflicts: share of shared memory's wavefronts"""


def _titles(columns: Sequence[Column]) -> str:
    return "  ".join(f"{title:{style}}" for title, style, _ in columns).rstrip()


def _row(one: Any, known: Sequence[Column], rest: Sequence[Column], failed: str) -> str:
    columns = known if failed else (*known, *rest)
    cells = [f"{value(one)!s:{style}}" for _, style, value in columns]
    return "  ".join([*cells, failed]).rstrip()


def inspection_table(inspected: Sequence[Inspected]) -> str:
    """Show one block per target: a line per instance, totals, and what is wrong or narrow."""
    blocks = [_inspected_block(mine) for mine in _by_target(inspected).values()]
    return "\n\n".join([*blocks, INSPECTED_LEGEND])


def _by_target(found: Iterable[Any]) -> dict[str, list[Any]]:
    """Group what is inspected, or outcomes, by target."""
    groups: dict[str, list[Any]] = {}
    for one in found:
        groups.setdefault(one.instance.target, []).append(one)
    return groups


def _inspected_block(mine: Sequence[Inspected]) -> str:
    name, made = mine[0].instance.target, [one.compiled for one in mine if one.compiled]
    lines = [f"{name} ({mine[0].target.chip})", _titles(INSPECTED + COMPILED)]
    for one in mine:
        lines.append(_row(one, INSPECTED, COMPILED, "" if one.compiled else "does not compile"))
    seconds = sum(one.compiled.seconds for one in mine if one.compiled and not one.cached)
    most = max((compiled.facts.registers for compiled in made), default=0)
    lines.append(
        f"{name}: {len(mine)} instances for {sum(s.launches for one in mine for s in one.sites)} "
        f"launches, {len(mine) - len(made)} failed, {sum(one.cached for one in mine)} from the "
        f"cache; at most {most} registers; {seconds:.1f} s of compiling"
    )
    faults = [f"  {one.key}: {fault}" for one in mine for fault in one.faults]
    narrow = [f"  {line}" for line in narrow_accesses(mine)]
    lines += [f"{name}: {len(faults)} faults" if faults else f"{name}: no fault", *faults]
    lines += [f"{name}: accesses under 16 bytes" if narrow else f"{name}: all accesses 16 bytes"]
    return "\n".join(lines + narrow)


def _widths(counts: Mapping[int, int]) -> str:
    """Return "48x16 8x4", widest first."""
    return " ".join(f"{counts[width]}x{width}" for width in sorted(counts, reverse=True)) or "-"


def narrow_accesses(inspected: Iterable[Inspected]) -> list[str]:
    """Return "8-byte loads of conv1_tile:b_ptr (conv1.py:34) in 9 instances", narrowest first."""
    found = Counter(
        (a.bytes, a.kind, a.pointer, a.line)
        for one in inspected
        for a in (dict.fromkeys(one.compiled.facts.narrow) if one.compiled else ())
    )
    return [
        f"{size}-byte {kind}s of {pointer} ({line}) in {count} instance{'s' * (count != 1)}"
        for (size, kind, pointer, line), count in sorted(found.items())
    ]


def inspection_record(one: Inspected) -> dict[str, Any]:
    """Return an instance as JSON has it."""
    instance = one.instance
    found = {
        "target": instance.target, "kernel": instance.kernel, "name": str(one.key),
        "warps": instance.warps, "constants": instance.constant,
        "signature": dict(instance.signature), "attrs": [list(a) for a in instance.attrs],
        "uses": [asdict(site) for site in one.sites], "faults": one.faults,
    }  # fmt: skip
    if one.compiled is None or one.occupancy is None:
        return {**found, "error": one.error}
    return {
        **found, **asdict(one.compiled.facts), "occupancy": asdict(one.occupancy),
        "seconds": round(one.compiled.seconds, 3), "cached": one.cached,
    }  # fmt: skip


def run_table(outcomes: Sequence[Outcome[RunResult]]) -> str:
    """Show one block per target: a line per instance, then what is wrong, with its source line."""
    blocks = [_run_block(target, mine) for target, mine in _by_target(outcomes).items()]
    return "\n\n".join([*blocks, RUN_LEGEND])


def _run_block(target: str, outcomes: Sequence[Outcome[RunResult]]) -> str:
    lines = [f"{target}, executed", _titles(TO_RUN + RUN)]
    faults: list[str] = []
    notes: list[str] = []
    for outcome in outcomes:
        name, result = f"{outcome.step} {outcome.instance.name}", outcome.found
        lines.append(_row(outcome, TO_RUN, RUN, "does not run" if result is None else ""))
        if result is None:
            faults.append(f"  {name}: {outcome.error}")
            continue
        faults += [f"  {name}: {fault}" for fault in result.faults]
        told = faults if result.faults else notes
        told += [f"    {report}" for report in result.reports[:3]]
    lines += [f"{target}: {len(faults)} lines of faults" if faults else f"{target}: no fault"]
    return "\n".join([*lines, *faults, *notes])


def _head(outcome: Outcome[Any]) -> dict[str, Any]:
    return {
        "target": outcome.request.target, "name": outcome.instance.name,
        "step": outcome.step, "batch": outcome.request.batch,
    }  # fmt: skip


def run_record(outcome: Outcome[RunResult]) -> dict[str, Any]:
    """Return a run as JSON has it."""
    options, result = outcome.options, outcome.found
    head = {**_head(outcome), "order": options.order, "seeds": list(options.seeds)}
    if result is None:
        return {**head, "error": outcome.error}
    counters, verdict, names = result.counters, result.verdict, outcome.executable.code.names
    return {
        **head, "images": result.images, "ctas": result.ctas, "seconds": round(result.seconds, 3),
        "passed": not result.faults, "faults": list(result.faults), "output": verdict.name,
        "relative_error": verdict.error, "eager_error": verdict.eager, "limit": verdict.limit,
        "reports": list(result.reports), "report_counts": result.report_counts,
        "macs": macs(counters), "l2_bytes": counters.global_bytes,
        "unique_bytes": {names[place]: list(n) for place, n in counters.unique.items()},
        "instructions": dict(counters.instructions.most_common()),
        "global": {
            kind: {**asdict(traffic), "efficiency": traffic.efficiency}
            for kind, traffic in counters.global_.items()
        },
        "shared": {kind: asdict(traffic) for kind, traffic in counters.shared.items()},
    }  # fmt: skip


def mutation_table(outcomes: Sequence[Outcome[list[Mutated]]]) -> str:
    """Show each instance, then a line for each of its mutants; totals at the end."""
    lines: list[str] = []
    verdicts: Counter[str] = Counter()
    for outcome in outcomes:
        head = _head(outcome)
        lines.append(f"{head['target']}  {head['step']}  {head['name']}")
        if outcome.found is None:
            lines.append(f"  does not run: {outcome.error}")
            continue
        for mutant in outcome.found:
            verdicts[mutant.verdict] += 1
            kinds = ", ".join(f"{count} {kind}" for kind, count in mutant.findings.items())
            place = f"{mutant.change} (PTX line {mutant.line}, {mutant.source})"
            lines.append(f"  {mutant.verdict:9} {place:70} {kinds}".rstrip())
    totals = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    lines.append(f"{verdicts.total()} mutants: {totals or 'none'}")
    return "\n".join(lines)


def mutation_record(outcome: Outcome[list[Mutated]]) -> dict[str, Any]:
    """Return an instance's mutants as JSON has them."""
    if outcome.found is None:
        return {**_head(outcome), "error": outcome.error}
    return {**_head(outcome), "mutants": [asdict(mutant) for mutant in outcome.found]}
