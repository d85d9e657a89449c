"""A network's history becomes points on a line: speed-ups over a peer where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .. import history
from ..records import Record
from ..runs import is_peer, moment
from .beside import Beside, speedup
from .data import CHANGES, History, series_of
from .links import Links
from .text import Names, amount, commit


@dataclass(frozen=True)
class Point:
    """A Point is a record on a chart. slot: its place; told: what a pointer on it is told."""

    slot: int
    record: Record
    value: float
    verdict: str
    ratio: float  # of its time to that of the code before it; 1 where it was not judged
    told: str
    url: str | None


@dataclass(frozen=True)
class Timeline:
    """A Timeline is what one chart shows. level: of the peer itself, if there is one."""

    points: Sequence[Point]
    names: Sequence[str]  # of the slots
    unit: str
    told: str  # what is drawn, in a sentence
    level: float | None = None


def timeline(beside: Beside, past: History, names: Names, links: Links) -> Timeline:
    """Make the points: of speed-ups where a peer was timed too, else of milliseconds."""
    cuts = _change_points([record for slot in beside.slots for record in slot])

    def point(slot: int, r: Record, value: float, told: str) -> Point:
        change = past.change_to(r) if not is_peer(r) else None
        verdict, ratio = (change.verdict, change.ratio) if change else ("", 1.0)
        if verdict not in CHANGES and (cut := cuts.get(_moment_of(r))):
            verdict, ratio = ("regression" if cut > 1 else "improvement"), cut
        words = [f"{names.subject(r)}: {told}", f"{commit(r)}, {moment(r):%Y-%m-%d}"]
        words += [f"{verdict}, {ratio:.2f} times the time before"] if verdict in CHANGES else []
        return Point(slot, r, value, verdict, ratio, "; ".join(words), links.url(r))

    found = list(_speedups(beside, point))
    slot_names = [f"{commit(s[0])}\n{moment(s[0]).day} {moment(s[0]):%b}" for s in beside.slots]
    if found:
        peer = next(filter(None, map(beside.base_of, beside.slots)))
        told = f"How many times as fast as {names.subject(peer)} in the same run."
        return Timeline(found, slot_names, "times as fast", told, 1.0)
    found = [
        point(i, r, r.median * 1e3, f"{amount(r.median * 1e3)} ms")
        for i, slot in enumerate(beside.slots) for r in slot
    ]  # fmt: skip
    told = "Milliseconds: no peer was timed beside it, so a slow machine looks like a slow commit."
    return Timeline(found, slot_names, "ms per batch", told)


def _change_points(records: Sequence[Record]) -> dict[tuple, float]:
    """Find where a level of many commits ends, as `r2n history` does, and how the time changed."""
    found = {}
    for series in history.series_of(records):
        for cut in series.changes() if series.enough else []:
            last = series.codes[cut.index][-1]
            found[_moment_of(last)] = math.exp(cut.after - cut.before)
    return found


def _moment_of(record: Record) -> tuple:
    """Return what tells a record of a series from the others."""
    return series_of(record), record.time, record.commit


def _speedups(beside: Beside, point: Callable[[int, Record, float, str], Point]) -> Iterator[Point]:
    for i, slot in enumerate(beside.slots):
        base = beside.base_of(slot)
        for r in slot:
            if base and series_of(r) != beside.peer:
                over = speedup(r, base)
                told = f"{over:.2f}x ({amount(r.median * 1e3)} ms, {amount(base.median * 1e3)} ms)"
                yield point(i, r, over, told)
