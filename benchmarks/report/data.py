"""Records are grouped by what they timed and where; figures and changes are computed of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from ...strict_json import is_number
from ..judge import Comparison, Judge
from ..records import Record
from ..runs import by_code, grouped, in_runs, machine_of, moment, split
from ..runs import place as thing
from ..significance import require_scipy

Series = tuple[str, str, str]  # subject, layout, backend: one line of a chart


class Setting(NamedTuple):
    """A Setting is what the subjects of one chart have in common. batch: 0 for any."""

    model: str
    dtype: str
    height: int
    width: int
    scope: str
    machine: tuple[str, ...]
    batch: int = 0


class Peak(NamedTuple):
    flops: float
    bandwidth: float | None
    source: str


def setting(r: Record) -> Setting:
    return Setting(r.model, r.dtype, r.height, r.width, r.scope, machine_of(r))


def at_batch(r: Record) -> Setting:
    return setting(r)._replace(batch=r.batch)


def series_of(record: Record) -> Series:
    return record.subject, record.layout, record.backend


def is_step(record: Record) -> bool:
    return record.scope == "step" or record.step is not None


def newest(records: Iterable[Record]) -> list[Record]:
    """Return the last of each thing by time, in the order in which the things first came."""
    return [max(reversed(same), key=moment) for same in grouped(records, thing).values()]


def rate(record: Record) -> float:
    """Return images per second."""
    return record.batch / record.median


def total(record: Record) -> float:
    """Return the seconds that all steps like this one take in one forward pass."""
    return record.count * record.median


def flops(record: Record) -> float:
    """Return the achieved FLOP/s, two per multiply-accumulate."""
    return 2 * record.macs / record.median


def intensity(record: Record) -> float | None:
    """Return floating-point operations per byte; None without bytes or multiply-accumulates."""
    return 2 * record.macs / record.bytes if record.bytes and record.macs else None


def peak(record: Record) -> Peak | None:
    """Return what the record says the device can do; None where that is not usable."""
    stated = record.peak or {}
    if not _positive(stated.get("flops")):
        return None
    bandwidth = stated.get("bandwidth")
    source = str(stated.get("source") or "source unknown")
    return Peak(stated["flops"], bandwidth if _positive(bandwidth) else None, source)


def peak_share(record: Record) -> float | None:
    found = peak(record)
    return flops(record) / found.flops if found else None


def has_roofline(record: Record) -> bool:
    return intensity(record) is not None and peak(record) is not None


def parity_use(record: Record) -> float | None:
    """Return error over limit; None where the record does not state both."""
    error, limit = record.parity.get("error"), record.parity.get("limit")
    return error / limit if _number(error) and _positive(limit) else None


def worst_parity(records: Iterable[Record]) -> Record | None:
    """Return the record that used most of its limit."""
    stated = [record for record in records if parity_use(record) is not None]
    return max(stated, key=lambda record: parity_use(record) or 0.0, default=None)


def _number(value: Any) -> TypeGuard[float]:
    return is_number(value) and math.isfinite(value)


def _positive(value: Any) -> TypeGuard[float]:
    return _number(value) and value > 0


CHANGES = ("regression", "improvement")


@dataclass(frozen=True)
class History:
    """A History is of what was recorded more than once.

    runs: records of one thing on one machine by time, two or more.
    judged: comparisons of the runs of one code with those of the code before it, by the identity of
    the last record of the newer ones. unjudged: how many of them are unclear.
    """

    runs: tuple[tuple[Record, ...], ...]
    judged: Mapping[int, Comparison]
    unjudged: int

    @property
    def changes(self) -> list[Record]:
        """Return the records that regressed or improved, newest first."""
        found = [
            record for run in self.runs for record in run
            if (change := self.change_to(record)) and change.verdict in CHANGES
        ]  # fmt: skip
        return sorted(found, key=moment, reverse=True)

    def change_to(self, record: Record) -> Comparison | None:
        """Return what was judged of this very record, and others of its code, against before."""
        return self.judged.get(id(record))

    def count(self, verdict: str) -> int:
        return sum(change.verdict == verdict for change in self.judged.values())


def history(records: Iterable[Record]) -> History:
    """Judge all changes. Raises ConfigError where there are some and scipy is not installed."""
    ordered = sorted(records, key=moment)
    named = in_runs(ordered)
    judge, of_run = Judge(named), dict(zip(map(id, ordered), named, strict=True))
    runs = tuple(map(tuple, (same for same in grouped(ordered, thing).values() if len(same) > 1)))
    pairs = [pair for run in runs for pair in itertools.pairwise(by_code(run))]
    if pairs:
        require_scipy()
    judged = {
        id(new[-1]): judge(*([of_run[id(record)] for record in side] for side in (base, new)))
        for base, new in pairs
    }
    return History(runs, judged, sum(c.verdict == "unclear" for c in judged.values()))


def slots(records: Iterable[Record]) -> list[list[Record]]:
    """Split by time: a new slot where the commit changes, or where a thing comes again."""
    return split(sorted(records, key=moment), _fits)


def _fits(record: Record, slot: Sequence[Record]) -> bool:
    of_one_commit = (record.commit, record.dirty) == (slot[0].commit, slot[0].dirty)
    return of_one_commit and all(thing(record) != thing(other) for other in slot)
