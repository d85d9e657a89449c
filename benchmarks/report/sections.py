"""This file lists what the page shows, in order, for page.html. Call inside svg.settings()."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from matplotlib.figure import Figure

from ..records import Record
from . import charts, data
from .data import History, at_batch, grouped, is_step, moment, series_of, setting, slots
from .drawing import looks_of
from .text import Names, Table, commits_table, machines_table, plain, processor, table

SUMMARY = ("subject", "batch", "img/s", "p50 ms", "p90 ms", "p99 ms", "calls", "GMACs/img",
           "GMAC/s", "of peak", "memory MB", "backend", "commit", "day")  # fmt: skip
THROUGHPUT = ("subject", "commit", "batch", "img/s", "median ms")
CHANGES = ("verdict", "subject", "what", "ratio", "95 % interval", "ms before", "ms after",
           "commits", "day", "p", "noise")  # fmt: skip
HISTORY = ("commit", "time", "subject", "against the one before", "ratio", "95 % interval",
           "median ms", "img/s")  # fmt: skip
ROOFLINE = ("step", "subject", "FLOP/byte", "GFLOP/s", "of peak")
STEPS = ("step", "subject", "count", "median ms", "ms in all", "of the sum", "GMAC/s")


@dataclass(frozen=True)
class Chart:
    """A Chart has kind: the first word of its file's name; table: what it shows, as numbers."""

    kind: str
    title: str
    note: str
    figure: Figure
    table: Table


@dataclass(frozen=True)
class Section:
    """A Section has facts: what page.html's words need to know, beside what all pages say."""

    title: str
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Sections:
    """Sections are the history of all records, and the others of the newest of each thing."""

    def __init__(self, records: Sequence[Record], past: History) -> None:
        self.records, self.past, self.names = records, past, Names.of(records)
        self.looks = looks_of(self.names.subjects)
        now = data.newest(records)
        networks, steps = ([r for r in now if is_step(r) is wanted] for wanted in (False, True))
        self.networks = grouped(networks, setting)
        self.forwards = grouped(steps, at_batch)

    def all(self) -> Iterator[Section]:
        """Yield the sections for which there are records."""
        if self.networks:
            yield self.summary()
            yield Section("Throughput", charts=list(self.throughputs()))
        yield self.history()
        if self.forwards:
            yield self.rooflines()
            yield Section("Time by step", charts=list(self.step_times()))
        tables = (machines_table(self.records, self.names), commits_table(self.records, self.names))
        yield Section("Environment", tables)

    def summary(self) -> Section:
        tables = [
            table(f"{self.names.heading(where)}: {processor(same[0])}", SUMMARY,
                  sorted(same, key=lambda r: r.batch), self.names, self.past)
            for where, same in self.networks.items()
        ]  # fmt: skip
        models = {where.model.partition(".")[0] for where in self.networks}
        return Section("Summary", tables, facts={"models": models})

    def throughputs(self) -> Iterator[Chart]:
        for where, same in self.networks.items():
            ordered = grouped(sorted(same, key=lambda r: r.batch), series_of).values()
            rows = table("Throughput", THROUGHPUT, list(chain(*ordered)), self.names, self.past)
            figure = charts.throughput(same, self.looks)
            yield Chart("throughput", self.names.heading(where), processor(same[0]), figure, rows)

    def history(self) -> Section:
        caption = "Changes that are more than noise, newest first"
        changes = self.past.changes
        rows = table(caption, CHANGES, changes, self.names, self.past)
        tables = [rows] if changes else []
        return Section("History", tables, list(self.histories()), {"past": self.past})

    def histories(self) -> Iterator[Chart]:
        networks = [r for run in self.past.runs for r in run if not is_step(r)]
        for where, same in grouped(networks, at_batch).items():
            by_time = slots(same)
            rows = table("History", HISTORY, list(chain(*by_time)), self.names, self.past)
            figure = charts.over_time(by_time, self.past, self.looks)
            yield Chart("history", self.names.heading(where), processor(same[0]), figure, rows)

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
            figure = charts.roofline(drawn, peak, self.looks)
            rows = table(
                "Arithmetic intensity and achieved FLOP/s", ROOFLINE, same, self.names, self.past
            )
            found.append(Chart("roofline", title, note, figure, rows))
        return Section("Roofline of the steps", charts=found, facts={"lacking": lacking})

    def step_times(self) -> Iterator[Chart]:
        for where, same in self.forwards.items():
            note = f"{processor(same[0])}. ×N: so many steps are like it, and count here together."
            ordered = grouped(same, lambda r: r.step).values()
            rows = table("Time by step", STEPS, list(chain(*ordered)), self.names, self.past)
            figure = charts.step_times(same, self.looks)
            yield Chart("steps", self.names.heading(where), note, figure, rows)
