"""Records taken side by side give speed-ups, in which a slow machine cancels."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..peers import PEERS
from ..records import Record
from ..runs import grouped, is_peer
from .data import Series, Setting, at_batch, is_step, rate, series_of, slots


@dataclass(frozen=True)
class Beside:
    """A Beside is a network at one batch size, all that was timed of it, by time.

    slots: what was timed together. peer: the series that speed-ups are over; None without one.
    """

    where: Setting
    slots: Sequence[Sequence[Record]]
    peer: Series | None

    def base_of(self, slot: Sequence[Record]) -> Record | None:
        """Return the peer's record of a slot."""
        return next((r for r in slot if series_of(r) == self.peer), None)

    def latest(self) -> Sequence[Record]:
        """Return the newest slot that has this project beside the peer, else the newest."""
        whole = [s for s in self.slots if self.base_of(s) and not all(map(is_peer, s))]
        return (whole or self.slots)[-1]


def sides(records: Sequence[Record]) -> Iterator[Beside]:
    """Yield a Beside for each network and batch size, in the order of the records."""
    networks = [record for record in records if not is_step(record)]
    for where, same in grouped(networks, at_batch).items():
        yield Beside(where, slots(same), _peer(same))


def _peer(records: Sequence[Record]) -> Series | None:
    """Choose as `r2n bench` does: timm in channels_last, else the first that is not ours."""
    peers = [record for record in records if is_peer(record)]
    usual = [record for record in peers if record.subject == PEERS["timm"].subject]
    return next(map(series_of, [*usual, *peers]), None)


def speedup(record: Record, base: Record) -> float:
    """Return how many times as fast as `base`: round by round, where there are as many."""
    if len(record.samples) != len(base.samples):
        return base.median / record.median
    return statistics.median(b / r for b, r in zip(base.medians, record.medians, strict=True))


@dataclass(frozen=True)
class Bar:
    """A Bar is a line of the first chart. share: of the longest bar."""

    record: Record
    share: float
    ours: bool
    over: float | None  # speed-up over the peer


def bars(beside: Beside) -> list[Bar]:
    """Return the subjects of the latest slot, the fastest first."""
    latest = sorted(beside.latest(), key=rate, reverse=True)
    base = beside.base_of(latest)
    return [
        Bar(r, rate(r) / rate(latest[0]), not is_peer(r), speedup(r, base) if base else None)
        for r in latest
    ]


def speedups(besides: Sequence[Beside]) -> dict[int, float]:
    """Find the speed-ups of all records that have a peer beside them, by their identity."""
    found: dict[int, float] = {}
    for beside in besides:
        for slot in beside.slots:
            base = beside.base_of(slot)
            if base:
                found |= {id(record): speedup(record, base) for record in slot}
    return found
