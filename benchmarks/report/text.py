"""This file writes the report's numbers and names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..records import Record
from ..runs import grouped, machine_of
from .data import Series, Setting, series_of, setting

NOTHING = "–"
LONGEST_FILE = 150


def amount(value: float | None) -> str:
    """Write four digits, three of small numbers."""
    if value is None:
        return NOTHING
    for least, digits in ((1000, 0), (100, 1), (10, 2), (1, 3)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}".replace("%", " %")


def plain(value: object) -> str:
    """Write on one line: what cannot be shown, or would change how text runs, becomes a sign."""
    text = NOTHING if value is None else str(value)
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
                   for c in text)  # fmt: skip


def commit(record: Record) -> str:
    """Write a commit's first letters, and a + where the work tree was changed."""
    name = plain(record.commit)[:7] if record.commit else "no commit"
    return name + "+" * record.dirty


def file_names(stems: Sequence[str]) -> list[str]:
    """Make names of letters that every system takes, each once."""
    found: list[str] = []
    for stem in stems:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.").lower()[:LONGEST_FILE]
        again = (f"{base}-{number}" for number in itertools.count(2))
        found.append(next(name for name in itertools.chain([base], again) if name not in found))
    return found


def labels(records: Sequence[Record]) -> dict[Series, str]:
    """Name each series: by its subject, and by what tells it apart within one chart."""
    in_one_chart = grouped(records, lambda r: (setting(r), r.subject))

    def told_apart_by(name: str) -> set[str]:
        differ = {
            s for s, same in in_one_chart.items() if len({getattr(r, name) for r in same}) > 1
        }
        return {subject for _, subject in differ}

    backends, layouts = told_apart_by("backend"), told_apart_by("layout")
    found = {}
    for r in records:
        words = [r.subject]
        words += [r.backend] if r.subject in backends else []
        words += [r.layout] if r.subject in layouts else []
        found[series_of(r)] = plain(", ".join(words))
    return found


def machine_letters(records: Iterable[Record]) -> dict[tuple[str, ...], str]:
    """Name the machines A, B, ... Z, A1, B1, ... in the order of the records."""
    machines = dict.fromkeys(map(machine_of, records))
    return {
        machine: chr(ord("A") + i % 26) + (str(i // 26) if i >= 26 else "")
        for i, machine in enumerate(machines)
    }


def processor(record: Record) -> str:
    """Name the GPU; or the CPU, with its threads."""
    machine = record.machine
    if machine.get("gpu"):
        return plain(machine["gpu"])
    cpu, threads = machine.get("cpu") or "unknown processor", machine.get("threads")
    return plain(f"{cpu}, {threads} threads" if threads else cpu)


@dataclass(frozen=True)
class Names:
    """Names are what one page calls subjects and machines."""

    subjects: Mapping[Series, str]
    machines: Mapping[tuple[str, ...], str]

    @staticmethod
    def of(records: Sequence[Record]) -> Names:
        return Names(labels(records), machine_letters(records))

    def subject(self, record: Record) -> str:
        return self.subjects[series_of(record)]

    def heading(self, where: Setting) -> str:
        """Write the title of a chart: what its subjects have in common."""
        words = [where.model, where.dtype, f"{where.height}x{where.width}"]
        words += [f"batch {where.batch}"] if where.batch else []
        words += [where.scope] if where.scope not in ("model", "step") else []
        return plain(", ".join([*words, f"machine {self.machines[where.machine]}"]))
