"""Records of BASE and of NEW are matched by what they timed and on what, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .judge import Comparison, Judge
from .records import Record
from .runs import KEY, WHERE, codes, different_versions, in_runs, key, machine_of
from .significance import FLOOR, require_scipy


@dataclass(frozen=True)
class Unmatched:
    """An Unmatched is a record without a partner. why: what differs from the nearest one."""

    record: Record
    why: str


def compare(
    base: Sequence[Record], new: Sequence[Record], floor: float = FLOOR,
    relative_to: str | None = None, history: Sequence[Record] = (), in_turns: bool = False,
) -> tuple[list[Comparison], list[Unmatched]]:  # fmt: skip
    """Compare the newest code of each thing in `base` and `new`; list what has no partner.

    history: more records, whose runs of one code tell the noise. The rest is as for Judge.

    Raises ConfigError where scipy is not installed, or no record is of the peer that is asked for.
    """
    require_scipy()
    old, fresh, earlier = (
        in_runs(records, f"{name} ")
        for name, records in (("base", base), ("new", new), ("history", history))
    )
    judge = Judge([*earlier, *old, *fresh], floor, relative_to, in_turns)
    partners, found, unmatched = codes(old), [], []
    for place, of_new in codes(fresh).items():
        runs, known = of_new[-1], partners.get(place)
        if known is None:
            unmatched.append(Unmatched(runs[-1], _why_alone(runs[-1], base)))
            continue
        fit = [code for code in known if not different_versions(code[-1], runs[-1])]
        if fit:
            found.append(judge(fit[-1], runs))
        else:
            exchanged = different_versions(known[-1][-1], runs[-1])
            unmatched.append(Unmatched(runs[-1], f"runs on other versions ({exchanged})"))
    return found, unmatched


def missing(base: Sequence[Record], new: Sequence[Record]) -> list[Record]:
    """Return the newest record of each thing in `base` that `new` has none of, on any machine."""
    kept = {key(record) for record in new}
    return list({key(r): r for r in base if key(r) not in kept}.values())


def _why_alone(new: Record, base: Sequence[Record]) -> str:
    other = {key(record): record for record in base}.get(key(new))
    if other is None:
        return _nearest(new, base)
    return f"another machine ({_differences(WHERE, machine_of(other), machine_of(new))})"


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
