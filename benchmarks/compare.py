"""Records of BASE and of NEW are matched by what they timed and on what, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .records import Record
from .significance import FLOOR, MIN_ROUNDS, Comparison, judge_runs

MACHINE = ("cpu", "gpu", "driver", "threads", "torch", "triton", "cores")  # must be equal
WHERE = (*MACHINE, "labels")
KEY = (
    "subject", "model", "dtype", "layout", "backend", "batch", "height", "width", "scope", "step",
)  # fmt: skip


@dataclass(frozen=True)
class Unmatched:
    """An Unmatched is a record without a partner. why: what differs from the nearest one."""

    record: Record
    why: str


def key(record: Record) -> tuple:
    """Return what must be equal for two records to be of the same thing."""
    return tuple(getattr(record, name) for name in KEY)


def machine_of(record: Record) -> tuple[str, ...]:
    """Return what must be equal too, as text: any JSON may stand there."""
    labels = ", ".join(f"{name}={value}" for name, value in sorted((record.labels or {}).items()))
    return *(str(record.machine.get(name)) for name in MACHINE), labels or "none"


def compare(
    base: Sequence[Record], new: Sequence[Record], floor: float = FLOOR
) -> tuple[list[Comparison], list[Unmatched]]:
    """Compare the newest of each thing in `base` and `new`; list those of `new` without a partner.

    Several records of one thing, machine and commit in a row count together, unless the work tree
    was changed.

    Raises ConfigError where scipy is not installed.
    """
    same_thing = {key(record): record for record in base}
    sides = [_by_thing(records) for records in (base, new)]
    found, unmatched = [], []
    for place, runs in sides[1].items():
        record, partners = runs[-1], sides[0].get(place)
        if partners is None:
            other = same_thing.get(key(record))
            why = _other_machine(other, record) if other else _nearest(record, base)
            unmatched.append(Unmatched(record, why))
            continue
        judged = judge_runs(partners, runs, floor)
        if judged is None:
            fewest = min(sum(len(run.samples) for run in side) for side in (partners, runs))
            why = f"{fewest} rounds, at least {MIN_ROUNDS} are needed to tell anything"
            unmatched.append(Unmatched(record, why))
        else:
            found.append(judged)
    return found, unmatched


def _by_thing(records: Sequence[Record]) -> dict[tuple, list[Record]]:
    """Find, by thing and machine, the newest record and those before it of the very same code."""
    found: dict[tuple, list[Record]] = {}
    for record in records:
        runs = found.setdefault((key(record), machine_of(record)), [])
        same = runs and same_code(runs[-1], record)
        found[key(record), machine_of(record)] = [*runs, record] if same else [record]
    return found


def same_code(one: Record, other: Record) -> bool:
    """Tell whether both are surely of one commit, with nothing changed in the work tree."""
    known = one.commit is not None and not one.dirty and not other.dirty
    return known and (one.commit, one.kernels) == (other.commit, other.kernels)


def missing(base: Sequence[Record], new: Sequence[Record]) -> list[Record]:
    """Return the newest record of each thing in `base` that `new` has none of, on any machine."""
    kept = {key(record) for record in new}
    return list({key(r): r for r in base if key(r) not in kept}.values())


def _other_machine(base: Record, new: Record) -> str:
    return f"another machine ({_differences(WHERE, machine_of(base), machine_of(new))})"


def _nearest(record: Record, others: Sequence[Record]) -> str:
    """Say what keeps the most similar record from being the same thing."""
    wanted = key(record)
    nearest = min(
        map(key, others), key=lambda o: sum(a != b for a, b in zip(o, wanted, strict=True))
    )
    return _differences(KEY, nearest, wanted)


def _differences(names: Sequence[str], old: tuple, new: tuple) -> str:
    found = zip(names, old, new, strict=True)
    return ", ".join(f"{name}: {before} and {now}" for name, before, now in found if before != now)
