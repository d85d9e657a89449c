"""Records of one thing over time, and which of its changes are more than noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..compare import same_code
from ..records import Record
from ..significance import Comparison, judge_runs
from .data import grouped, moment, thing


@dataclass(frozen=True)
class History:
    """runs: records of one thing on one machine by time, two or more.

    judged: comparisons of the runs of one code with those of the code before it, by the identity of
    the last record of the newer ones.
    """

    runs: tuple[tuple[Record, ...], ...]
    judged: Mapping[int, Comparison]
    unjudged: int  # pairs with fewer than MIN_ROUNDS rounds

    @property
    def changes(self) -> list[Comparison]:
        """Regressions and improvements, newest first."""
        found = [c for c in self.judged.values() if c.verdict != "same"]
        return sorted(found, key=lambda c: moment(c.new), reverse=True)

    def change_to(self, record: Record) -> Comparison | None:
        """What was judged of this very record, and others of its code, against those before."""
        return self.judged.get(id(record))


def history(records: Iterable[Record]) -> History:
    """Raises ConfigError where there is something to judge and scipy is not installed."""
    by_thing = grouped(records, thing).values()
    runs = tuple(tuple(sorted(same, key=moment)) for same in by_thing if len(same) > 1)
    pairs = [pair for run in runs for pair in itertools.pairwise(_by_code(run))]
    found = {id(new[-1]): judge_runs(base, new) for base, new in pairs}
    judged = {place: change for place, change in found.items() if change is not None}
    return History(runs, judged, len(found) - len(judged))


def _by_code(run: Sequence[Record]) -> list[list[Record]]:
    """Neighbours of one code together."""
    found: list[list[Record]] = []
    for record in run:
        if found and same_code(found[-1][-1], record):
            found[-1].append(record)
        else:
            found.append([record])
    return found


def slots(records: Iterable[Record]) -> list[list[Record]]:
    """By time: a new slot where the commit changes, or where a thing comes again."""
    found: list[list[Record]] = []
    for record in sorted(records, key=moment):
        if not found or not _fits(record, found[-1]):
            found.append([])
        found[-1].append(record)
    return found


def _fits(record: Record, slot: Sequence[Record]) -> bool:
    same_code = (record.commit, record.dirty) == (slot[0].commit, slot[0].dirty)
    return same_code and all(thing(record) != thing(other) for other in slot)
