"""Records of one thing over time, and which of its changes are more than noise."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..compare import MIN_ROUNDS, Comparison, judge
from ..records import Record
from .data import grouped, moment, thing


@dataclass(frozen=True)
class History:
    """runs: records of one thing on one machine by time, two or more.

    judged: each record's comparison with the one before it, where both had enough rounds.
    """

    runs: tuple[tuple[Record, ...], ...]
    judged: tuple[Comparison, ...]
    unjudged: int  # pairs with fewer than MIN_ROUNDS rounds

    @property
    def changes(self) -> list[Comparison]:
        """Regressions and improvements, newest first."""
        found = [c for c in self.judged if c.verdict != "same"]
        return sorted(found, key=lambda c: moment(c.new), reverse=True)

    def change_to(self, record: Record) -> Comparison | None:
        """What was judged of this very record against the one before it."""
        return self._by_record.get(id(record))

    @functools.cached_property
    def _by_record(self) -> dict[int, Comparison]:
        return {id(change.new): change for change in self.judged}


def history(records: Iterable[Record]) -> History:
    """Raises ConfigError where there is something to judge and scipy is not installed."""
    by_thing = grouped(records, thing).values()
    runs = tuple(tuple(sorted(same, key=moment)) for same in by_thing if len(same) > 1)
    pairs = [pair for run in runs for pair in itertools.pairwise(run)]
    enough = [pair for pair in pairs if min(len(r.samples) for r in pair) >= MIN_ROUNDS]
    judged = tuple(judge(base, new) for base, new in enough)
    return History(runs, judged, len(pairs) - len(enough))


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
