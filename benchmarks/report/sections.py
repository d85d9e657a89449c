"""This file lists what the page shows, in order, for page.html. Call inside svg.settings()."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from matplotlib.figure import Figure

from ..records import Record
from ..runs import grouped, moment
from . import charts, data
from .beside import Bar, bars, sides, speedups
from .data import History, at_batch, is_step, series_of, setting
from .drawing import DESK, HALF, looks_of
from .links import Links
from .text import Names, plain, processor
from .timeline import timeline
from .writer import Table, Writer, commits_table, machines_table

SUMMARY = ("subject", "batch", "img/s", "speed-up", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms",
           "calls", "GMAC/s", "of peak", "memory MB", "commit", "day")  # fmt: skip
THROUGHPUT = ("subject", "commit", "batch", "img/s", "median ms")
CHANGES = ("verdict", "subject", "what", "ratio", "95 % interval", "ms before", "ms after",
           "commits", "day", "p", "noise")  # fmt: skip
HISTORY = ("commit", "time", "subject", "speed-up", "against the one before", "ratio",
           "95 % interval", "median ms", "img/s")  # fmt: skip
ROOFLINE = ("step", "subject", "FLOP/byte", "GFLOP/s", "of peak")
STEPS = ("step", "subject", "count", "median ms", "ms in all", "of the sum", "GMAC/s")


@dataclass(frozen=True)
class Chart:
    """A Chart is drawn once for a phone and once as wide as its place on a desk's page.

    kind: the first word of its file's name; table: what it shows, as numbers.
    """

    kind: str
    title: str
    note: str
    draw: Callable[[int], Figure]  # of a width in pixels
    table: Table
    wide: int = HALF


@dataclass(frozen=True)
class Group:
    """A Group is the bars of one network at one batch size."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Section:
    """A Section has facts: what page.html's words need to know, beside what all pages say."""

    title: str
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    groups: Sequence[Group] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Sections:
    """Sections are the history of all records, and the others of the newest of each thing."""

    def __init__(self, records: Sequence[Record], past: History, links: Links) -> None:
        self.records, self.past, self.links = records, past, links
        self.besides = list(sides(records))
        self.names = Names.of(records)
        self.writer = Writer(self.names, past, links, speedups(self.besides))
        self.looks = looks_of(self.names.subjects)
        now = data.newest(records)
        networks, steps = ([r for r in now if is_step(r) is wanted] for wanted in (False, True))
        self.networks = grouped(networks, setting)
        self.forwards = grouped(steps, at_batch)

    def all(self) -> Iterator[Section]:
        """Yield the sections for which there are records."""
        if self.networks:
            groups = [Group(self.names.heading(b.where), bars(b)) for b in self.besides]
            yield Section("Speed", groups=groups)
            if self.past.runs:
                yield self.history()
            yield self.figures()
        if not (self.networks and self.past.runs):
            yield self.history()
        if self.forwards:
            yield self.rooflines()
            yield Section("Time by step", charts=list(self.step_times()))
        commits = commits_table(self.records, self.names, self.links)
        yield Section("Environment", (machines_table(self.records, self.names), commits))

    def figures(self) -> Section:
        tables = [
            self.writer.table(f"{self.names.heading(where)}: {processor(same[0])}", SUMMARY,
                              sorted(same, key=lambda r: r.batch))
            for where, same in self.networks.items()
        ]  # fmt: skip
        models = {where.model.partition(".")[0] for where in self.networks}
        return Section("All figures", tables, list(self.throughputs()), facts={"models": models})

    def throughputs(self) -> Iterator[Chart]:
        for where, same in self.networks.items():
            ordered = grouped(sorted(same, key=lambda r: r.batch), series_of).values()
            rows = self.writer.table("Throughput", THROUGHPUT, list(chain(*ordered)))
            draw = partial(charts.throughput, same, self.looks)
            title, note = self.names.heading(where), processor(same[0])
            yield Chart("throughput", title, note, draw, rows, _wide(self.networks))

    def history(self) -> Section:
        caption = "Changes that are more than noise, newest first"
        changes = self.past.changes
        rows = self.writer.table(caption, CHANGES, changes)
        tables = [rows] if changes else []
        return Section("History", tables, list(self.histories()), facts={"past": self.past})

    def histories(self) -> Iterator[Chart]:
        for beside in self.besides:
            if len(beside.slots) > 1:
                line = timeline(beside, self.past, self.names, self.links)
                rows = self.writer.table("History", HISTORY, list(chain(*beside.slots)))
                title = self.names.heading(beside.where)
                note = f"{processor(beside.slots[0][0])}. {line.told}"
                draw = partial(charts.over_time, line, self.looks)
                yield Chart("history", title, note, draw, rows, DESK)

    def rooflines(self) -> Section:
        found, lacking = [], {}
        for where, same in self.forwards.items():
            title, drawn = self.names.heading(where), list(filter(data.has_roofline, same))
            latest = max(drawn, key=moment, default=None)
            peak = data.peak(latest) if latest else None
            if peak is None:
                lacking[title] = "peak" if any(map(data.intensity, same)) else "bytes"
                continue
            note = f"{processor(same[0])}. Peak: {peak.source}."
            if peak.bandwidth is None:
                note += " The records do not state its bandwidth, so there is no slope."
            others = dict.fromkeys(plain(r.step) for r in same if not data.has_roofline(r))
            if others:
                told = ", ".join(others)
                note += f" Not drawn, without multiply-accumulates, bytes or peak: {told}."
            draw = partial(charts.roofline, drawn, peak, self.looks)
            rows = self.writer.table("Arithmetic intensity and achieved FLOP/s", ROOFLINE, same)
            found.append(Chart("roofline", title, note, draw, rows, _wide(self.forwards)))
        return Section("Roofline of the steps", charts=found, facts={"lacking": lacking})

    def step_times(self) -> Iterator[Chart]:
        for where, same in self.forwards.items():
            note = f"{processor(same[0])}. ×N: so many steps are like it, and count here together."
            ordered = grouped(same, lambda r: r.step).values()
            rows = self.writer.table("Time by step", STEPS, list(chain(*ordered)))
            draw = partial(charts.step_times, same, self.looks)
            title = self.names.heading(where)
            yield Chart("steps", title, note, draw, rows, _wide(self.forwards))


def _wide(charts: Sized) -> int:
    """Return a chart's pixels: two stand side by side, and one alone has all the page."""
    return DESK if len(charts) == 1 else HALF
