"""Records are put in order: what they timed, where, of which code, and in which run."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import RecordError
from ..text import show
from .records import Record

MACHINE = ("cpu", "gpu", "driver", "threads", "torch", "triton", "cores")  # must be equal
WHERE = (*MACHINE, "labels")
SHARED = ("model", "dtype", "batch", "height", "width", "scope", "step")  # of subject and peer
KEY = (
    "subject", "model", "dtype", "layout", "backend", "batch", "height", "width", "scope", "step",
)  # fmt: skip
OURS = "r2n_kernels"  # how subjects of this project begin; all others are peers

Code = list[Record]  # the newest runs of one code, one record each
Key = TypeVar("Key", bound=Hashable)
Member = TypeVar("Member")


def grouped(members: Iterable[Member], by: Callable[[Member], Key]) -> dict[Key, list[Member]]:
    """Group records, or what is made of them, by a key, in the order of each group's first."""
    found: dict[Key, list[Member]] = {}
    for member in members:
        found.setdefault(by(member), []).append(member)
    return found


def key(record: Record) -> tuple:
    """Return what must be equal for two records to be of the same thing."""
    return tuple(getattr(record, name) for name in KEY)


def name_of(record: Record) -> str:
    """Return what people, and other tools, know a thing by."""
    size = f"{record.height}x{record.width}"
    words = (record.subject, record.model, record.dtype, f"batch {record.batch}", size)
    return ", ".join([*words, record.step or record.scope])


def machine_of(record: Record) -> tuple[str, ...]:
    """Return what must be equal too, as text: any JSON may stand there."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted((record.labels or {}).items()))
    return *(str(record.machine.get(name)) for name in MACHINE), labels or "none"


def place(record: Record) -> tuple:
    """Return what two records must share to be of the same thing on the same machine."""
    return key(record), machine_of(record)


def moment(record: Record) -> datetime.datetime:
    """Return when the record was taken. Raises RecordError where its time is no time."""
    try:
        found = datetime.datetime.fromisoformat(record.time.replace("Z", "+00:00"))
        if found.tzinfo is None:
            return found.replace(tzinfo=datetime.timezone.utc)
        return found.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError) as error:  # as of the year 1, west of Greenwich
        raise RecordError(f"'time' of a record is not ISO 8601: {show(record.time)}") from error


def is_peer(record: Record) -> bool:
    return not record.subject.startswith(OURS)


def same_code(one: Record, other: Record) -> bool:
    """Tell whether both are surely of one code, on the same versions of what it runs on."""
    if different_versions(one, other):
        return False
    if is_peer(one):
        return True
    if one.code is not None and other.code is not None:
        return one.code == other.code
    known = one.commit is not None and not one.dirty and not other.dirty
    return known and (one.commit, one.kernels) == (other.commit, other.kernels)


def different_versions(one: Record, other: Record) -> str:
    """Return which packages of a subject were exchanged, where both records know them."""
    before, now = one.versions, other.versions
    if before is None or now is None:
        return ""
    names = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
    return ", ".join(f"{name}: {before.get(name)} and {now.get(name)}" for name in sorted(names))


def in_runs(records: Iterable[Record], where: str = "") -> list[Record]:
    """Give records of older versions, which name no run, the one that they were taken in.

    A new one begins with another commit, and where a thing comes again. where: to tell files apart.
    """
    found: list[Record] = []
    number, seen, commit = 0, set[tuple](), None
    for record in records:
        if record.run is None:
            if place(record) in seen or (record.commit, record.dirty) != commit:
                number, seen, commit = number + 1, set(), (record.commit, record.dirty)
            seen.add(place(record))
        found.append(record if record.run else replace(record, run=f"{where}{number}"))
    return found


def codes(records: Iterable[Record]) -> dict[tuple, list[Code]]:
    """Find, by place, the codes in the order of their records; runs of one count together."""
    found = grouped(records, place)
    return {where: [_by_run(code) for code in by_code(same)] for where, same in found.items()}


def by_code(records: Iterable[Record]) -> list[list[Record]]:
    """Split records of one place where the code changes."""
    return split(records, lambda record, code: same_code(code[-1], record))


def split(
    records: Iterable[Record], fits: Callable[[Record, list[Record]], bool]
) -> list[list[Record]]:
    """Cut into pieces: a record that does not fit the last piece begins the next."""
    found: list[list[Record]] = []
    for record in records:
        if not found or not fits(record, found[-1]):
            found.append([])
        found[-1].append(record)
    return found


def merge(runs: Sequence[Record]) -> Record:
    """Return the newest of some records of one thing, with the rounds of all."""
    return replace(
        runs[-1],
        samples=tuple(chain.from_iterable(run.samples for run in runs)),
        again=tuple(chain.from_iterable(run.again for run in runs)),
    )


def _by_run(code: Code) -> Code:
    """Make one record of those of one process."""
    found = grouped(code, lambda record: record.run)
    return [merge(same) if len(same) > 1 else same[0] for same in found.values()]


class Peers:
    """Peers were timed in the same runs as a subject: what slows them as well is the machine."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take records that name their runs."""
        self._found: dict[tuple, dict[str, Record]] = {}
        for record in filter(is_peer, records):
            self._found.setdefault(_case(record), {})[record.subject] = record

    def beside(self, record: Record) -> Mapping[str, Record]:
        """Return peers of the record's run and case by their subjects, in their order."""
        return self._found.get(_case(record), {})

    def common(self, base: Code, new: Code) -> list[str]:
        """Return subjects that ran beside every run of both sides, on the same versions."""
        sides = [[self.beside(run) for run in side] for side in (base, new)]
        return [
            subject
            for subject in sides[1][-1]
            if all(subject in beside for beside in chain(*sides))
            and not different_versions(sides[0][-1][subject], sides[1][-1][subject])
        ]

    def logs(self, code: Code, peer: str | None) -> list[float] | None:
        """Return each run's log time, over the peer's where one is named; None where it lacks."""
        if peer is None:
            return [float(np.log(np.median(_rounds(run)))) for run in code]
        found = [self.beside(run).get(peer) for run in code]
        pairs = [(run, other) for run, other in zip(code, found, strict=True) if other is not None]
        return [_log_ratio(*pair) for pair in pairs] if len(pairs) == len(code) else None


def _case(record: Record) -> tuple:
    return record.run, machine_of(record), *(getattr(record, name) for name in SHARED)


def _log_ratio(one: Record, other: Record) -> float:
    """Compare round by round where both took turns: what drifts then cancels."""
    times, others = _rounds(one), _rounds(other)
    if len(one.samples) == len(other.samples) and len(times) == len(others):
        return float(np.median(np.log(times / others)))
    return float(np.log(np.median(times) / np.median(others)))


def _rounds(record: Record) -> NDArray[np.float64]:
    """Return the median of each round, and of each that the subject was timed in once more."""
    return np.asarray([*record.medians, *record.again_medians])
