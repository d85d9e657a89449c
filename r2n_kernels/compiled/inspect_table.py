"""Rows as text for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .inspection import Row

COLUMNS = (
    ("kernel", "<13"), ("first step", "<14"), ("geometry", "<17"), ("tile", "<18"), ("warps", ">5"),
    ("batch", ">5"), ("uses", ">4"), ("regs", ">4"), ("spill", ">5"), ("smem", ">6"), ("mma", ">4"),
    ("loads", ">12"), ("stores", ">7"), ("CTAs", ">4"), ("full", ">4"), ("limit", "<9"),
)  # fmt: skip
LEGEND = """\
uses: launches in all forward passes; regs: registers a thread; spill: bytes a thread;
smem: bytes a CTA; mma: tensor-core instructions; loads, stores: instructions x bytes a thread, of
global memory; CTAs: per SM, at most; full: share of its warps; limit: why not more"""


def table(rows: Sequence[Row]) -> str:
    """One block a target: a line an instance, totals, and what is wrong or narrow."""
    targets = dict.fromkeys(row.instance.target for row in rows)
    blocks = (_block(name, [r for r in rows if r.instance.target == name]) for name in targets)
    return "\n\n".join([*blocks, LEGEND])


def _block(name: str, rows: Sequence[Row]) -> str:
    made = [row for row in rows if row.compiled]
    lines = [f"{name} ({rows[0].target.chip})", _line(title for title, _ in COLUMNS)]
    lines += [_line(_cells(row)) for row in rows]
    seconds = sum(row.compiled.seconds for row in made if not row.cached)
    most = max((row.compiled.facts.registers for row in made), default=0)
    lines.append(
        f"{name}: {len(rows)} instances for {sum(u.launches for r in rows for u in r.uses)} "
        f"launches, {len(rows) - len(made)} failed, {sum(r.cached for r in rows)} from the cache; "
        f"at most {most} registers; {seconds:.1f} s of compiling"
    )
    faults = [f"  {row.name}: {fault}" for row in rows for fault in row.faults]
    narrow = [f"  {line}" for line in narrow_accesses(made)]
    lines += [f"{name}: {len(faults)} faults" if faults else f"{name}: no fault", *faults]
    lines += [f"{name}: accesses under 16 bytes" if narrow else f"{name}: all accesses 16 bytes"]
    return "\n".join(lines + narrow)


def _cells(row: Row) -> list[str]:
    instance, uses = row.instance, row.uses
    cells = [instance.kernel, row.step, instance.geometry, instance.tile, str(instance.warps)]
    cells += [",".join(str(use.batch) for use in uses), str(sum(use.launches for use in uses))]
    if row.compiled is None:
        return [*cells, "does not compile"]
    facts, fits = row.compiled.facts, row.occupancy
    return [
        *cells, str(facts.registers), str(facts.spill), str(facts.shared),
        str(sum(facts.tensor_cores.values())), _widths(facts.loads), _widths(facts.stores),
        str(fits.ctas), f"{fits.warps:.0%}", fits.limit,
    ]  # fmt: skip


def _line(cells: Iterable[str]) -> str:
    columns = zip(cells, COLUMNS, strict=False)
    return "  ".join(f"{cell:{style}}" for cell, (_, style) in columns).rstrip()


def _widths(counts: Mapping[int, int]) -> str:
    """ "48x16 8x4": widest first."""
    return " ".join(f"{counts[width]}x{width}" for width in sorted(counts, reverse=True)) or "-"


def narrow_accesses(rows: Iterable[Row]) -> list[str]:
    """ "8-byte loads of conv1_tile:b_ptr (conv1.py:34) in 9 instances": narrowest first."""
    found = Counter(
        (a.bytes, a.kind, a.pointer, a.line)
        for row in rows
        for a in dict.fromkeys(row.compiled.facts.narrow)
    )
    return [
        f"{size}-byte {kind}s of {pointer} ({line}) in {count} instance{'s' * (count != 1)}"
        for (size, kind, pointer, line), count in sorted(found.items())
    ]


def record(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    instance = row.instance
    found = {
        "target": instance.target, "kernel": instance.kernel, "name": row.name,
        "warps": instance.warps, "constants": instance.constant,
        "signature": dict(instance.signature), "attrs": [list(a) for a in instance.attrs],
        "uses": [asdict(use) for use in row.uses], "faults": row.faults,
    }  # fmt: skip
    if row.compiled is None:
        return {**found, "error": row.error}
    facts = row.compiled.facts.to_json()
    return {
        **found, **facts, "occupancy": asdict(row.occupancy),
        "seconds": round(row.compiled.seconds, 3), "cached": row.cached,
    }  # fmt: skip
