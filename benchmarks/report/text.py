"""This file writes the report's numbers and names, and its tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..judge import Comparison
from ..records import Record
from ..runs import MACHINE, machine_of
from . import data
from .data import History, Series, Setting, at_batch, grouped, moment, series_of, setting

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


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _milliseconds(seconds: float) -> str:
    return amount(seconds * 1e3)


OF_A_RECORD: Mapping[str, Callable[[Record], str]] = {
    "step": lambda r: plain(r.step),
    "batch": lambda r: str(r.batch),
    "count": lambda r: str(r.count),
    "img/s": lambda r: amount(data.rate(r)),
    "median ms": lambda r: _milliseconds(r.median),
    "ms in all": lambda r: _milliseconds(data.total(r)),
    "p50 ms": lambda r: _milliseconds(data.quantile(r, 0.5)),
    "p90 ms": lambda r: _milliseconds(data.quantile(r, 0.9)),
    "p99 ms": lambda r: _milliseconds(data.quantile(r, 0.99)),
    "calls": lambda r: str(len(r.seconds)),
    "GMACs/img": lambda r: amount(r.macs / r.batch / 1e9),
    "GMAC/s": lambda r: amount(r.macs / r.median / 1e9),
    "FLOP/byte": lambda r: amount(data.intensity(r)),
    "GFLOP/s": lambda r: amount(data.flops(r) / 1e9),
    "of peak": lambda r: percent(data.peak_share(r)),
    "memory MB": lambda r: NOTHING if r.memory is None else amount(r.memory / 1e6),
    "backend": lambda r: plain(r.backend),
    "commit": commit,
    "day": lambda r: f"{moment(r):%Y-%m-%d}",
    "time": lambda r: plain(r.time),
}
OF_A_CHANGE: Mapping[str, Callable[[Comparison], str]] = {
    "verdict": lambda c: c.verdict,
    "against the one before": lambda c: c.verdict,
    "ratio": lambda c: f"{c.ratio:.3f}",
    "95 % interval": lambda c: "{:.3f} to {:.3f}".format(*c.interval) if c.interval else NOTHING,
    "ms before": lambda c: _milliseconds(c.base.median),
    "ms after": lambda c: _milliseconds(c.new.median),
    "commits": lambda c: f"{commit(c.base)} to {commit(c.new)}",
    "p": lambda c: NOTHING if c.p is None else f"{c.p:.1e}",
    "noise": lambda c: percent(c.noise),
}
TEXTS = {"step", "backend", "commit", "commits", "day", "time", "verdict", "against the one before"}
NUMBERS = {*OF_A_RECORD, *OF_A_CHANGE} - TEXTS | {
    "of the sum", "records", "worst parity error", "its limit", "used"
}  # fmt: skip


def table(
    caption: str, columns: Sequence[str], records: Sequence[Record], names: Names, past: History
) -> Table:
    """Write one row per record, by the columns' names."""
    spent = {s: sum(map(data.total, same)) for s, same in grouped(records, series_of).items()}
    of_its_place = {
        "subject": names.subject,
        "what": lambda r: f"{plain(r.step)} of " * bool(r.step) + names.heading(at_batch(r)),
        "of the sum": lambda r: percent(data.total(r) / spent[series_of(r)]),
    }

    def cell(column: str, record: Record) -> str:
        if column not in OF_A_CHANGE:
            return (OF_A_RECORD.get(column) or of_its_place[column])(record)
        change = past.change_to(record)
        return OF_A_CHANGE[column](change) if change else NOTHING

    rows = (tuple(cell(column, record) for column in columns) for record in records)
    return Table(caption, tuple(columns), tuple(rows))


def machines_table(records: Sequence[Record], names: Names) -> Table:
    """Write what was stated of each machine, first what the comparison asks for."""
    facts = dict.fromkeys([*MACHINE, *(name for record in records for name in record.machine)])
    rows = (
        (names.machines[machine], *(_values(same, fact) for fact in facts), str(len(same)))
        for machine, same in grouped(records, machine_of).items()
    )
    return Table("Machines and versions", ("machine", *map(plain, facts), "records"), tuple(rows))


def _values(records: Sequence[Record], fact: str) -> str:
    """Write what is usually one value; r2n_kernels' version may differ between runs."""
    return ", ".join(dict.fromkeys(plain(record.machine.get(fact)) for record in records))


def commits_table(records: Sequence[Record], names: Names) -> Table:
    """Write when each code was timed on each machine, and the worst parity that it passed."""
    rows = []
    by_code = grouped(records, lambda r: (r.commit, r.dirty, r.kernels, machine_of(r)))
    for (commit, dirty, kernels, machine), same in by_code.items():
        worst, days = data.worst_parity(same), sorted(f"{moment(r):%Y-%m-%d}" for r in same)
        parity = [NOTHING] * 3
        if worst:
            used = percent(data.parity_use(worst))
            parity = [amount(worst.parity["error"]), amount(worst.parity["limit"]), used]
        rows.append(
            (plain(commit)[:12], "yes" if dirty else "no", plain(kernels), names.machines[machine],
             days[0], days[-1], str(len(same)), *parity)
        )  # fmt: skip
    columns = ("commit", "work tree changed", "kernels", "machine", "first day", "last day",
               "records", "worst parity error", "its limit", "used")  # fmt: skip
    return Table("Commits and parity", columns, tuple(rows))
