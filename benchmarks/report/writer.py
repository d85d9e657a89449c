"""This file writes the report's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..judge import Comparison
from ..percentiles import SHARES, percentiles
from ..records import Record
from ..runs import MACHINE, grouped, machine_of, moment
from . import data
from .data import History, at_batch, series_of
from .links import Links
from .text import NOTHING, Names, amount, commit, percent, plain


@dataclass(frozen=True)
class Table:
    """A Table may have urls: of the commit of each row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    urls: tuple[str | None, ...] = ()


def _milliseconds(seconds: float) -> str:
    return amount(seconds * 1e3)


def _percentile(name: str, record: Record) -> str:
    return _milliseconds(percentiles(record.seconds)[name])


OF_A_RECORD: Mapping[str, Callable[[Record], str]] = {
    "step": lambda r: plain(r.step),
    "batch": lambda r: str(r.batch),
    "count": lambda r: str(r.count),
    "img/s": lambda r: amount(data.rate(r)),
    "median ms": lambda r: _milliseconds(r.median),
    "ms in all": lambda r: _milliseconds(data.total(r)),
    **{f"{name} ms": partial(_percentile, name) for name in SHARES},
    "calls": lambda r: str(len(r.seconds)),
    "GMAC/s": lambda r: amount(r.macs / r.median / 1e9),
    "FLOP/byte": lambda r: amount(data.intensity(r)),
    "GFLOP/s": lambda r: amount(data.flops(r) / 1e9),
    "of peak": lambda r: percent(data.peak_share(r)),
    "memory MB": lambda r: NOTHING if r.memory is None else amount(r.memory / 1e6),
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
TEXTS = {"step", "commit", "commits", "day", "time", "verdict", "against the one before"}
NUMBERS = {*OF_A_RECORD, *OF_A_CHANGE} - TEXTS | {
    "of the sum", "speed-up", "records", "worst parity error", "its limit", "used"
}  # fmt: skip


@dataclass(frozen=True)
class Writer:
    """A Writer makes tables of records. over: speed-ups, by the identity of records."""

    names: Names
    past: History
    links: Links = field(default_factory=Links)
    over: Mapping[int, float] = field(default_factory=dict)

    def table(self, caption: str, columns: Sequence[str], records: Sequence[Record]) -> Table:
        """Write one row per record, by the columns' names."""
        names = self.names
        spent = {s: sum(map(data.total, same)) for s, same in grouped(records, series_of).items()}
        of_its_place = {
            "subject": names.subject,
            "speed-up": self._speedup,
            "what": lambda r: f"{plain(r.step)} of " * bool(r.step) + names.heading(at_batch(r)),
            "of the sum": lambda r: percent(data.total(r) / spent[series_of(r)]),
        }

        def cell(column: str, record: Record) -> str:
            if column not in OF_A_CHANGE:
                return (OF_A_RECORD.get(column) or of_its_place[column])(record)
            change = self.past.change_to(record)
            return OF_A_CHANGE[column](change) if change else NOTHING

        rows = (tuple(cell(column, record) for column in columns) for record in records)
        return Table(caption, tuple(columns), tuple(rows), tuple(map(self.links.url, records)))

    def _speedup(self, record: Record) -> str:
        over = self.over.get(id(record))
        return f"{over:.2f}x" if over else NOTHING


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


def commits_table(records: Sequence[Record], names: Names, links: Links) -> Table:
    """Write when each code was timed on each machine, and the worst parity that it passed."""
    rows = []
    by_code = grouped(records, lambda r: (r.commit, r.dirty, r.kernels, machine_of(r)))
    for (name, dirty, kernels, machine), same in by_code.items():
        worst, days = data.worst_parity(same), sorted(f"{moment(r):%Y-%m-%d}" for r in same)
        parity = [NOTHING] * 3
        if worst:
            used = percent(data.parity_use(worst))
            parity = [amount(worst.parity["error"]), amount(worst.parity["limit"]), used]
        rows.append(
            (plain(name)[:12], "yes" if dirty else "no", plain(kernels), names.machines[machine],
             days[0], days[-1], str(len(same)), *parity)
        )  # fmt: skip
    columns = ("commit", "work tree changed", "kernels", "machine", "first day", "last day",
               "records", "worst parity error", "its limit", "used")  # fmt: skip
    urls = tuple(links.url(same[0]) for same in by_code.values())
    return Table("Commits and parity", columns, tuple(rows), urls)
