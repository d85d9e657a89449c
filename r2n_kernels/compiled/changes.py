"""How a summary differs from the accepted one, and which differences make it worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .baseline import Entry, Summary, batches

WORSE, BETTER, CHANGED = VERDICTS = ("worse", "better", "changed")  # the first one found counts
# Verdicts of a fact that goes up and of one that goes down
LESS, MORE, EITHER = (WORSE, BETTER), (BETTER, WORSE), (CHANGED, CHANGED)
RULES: Mapping[str, Mapping[str, tuple[str, str]]] = {  # group -> fact -> rule
    "plan": {
        "launches": LESS, "bytes read": LESS, "bytes written": LESS, "bytes scratch": LESS,
        "bytes l2": LESS, "weight bytes": LESS, "workspace bytes": LESS, "macs": EITHER,
        "executed macs": LESS,
    },
    "compiled": {
        "uses": EITHER, "programs": EITHER, "registers": LESS, "spill": LESS, "shared": LESS,
        "instructions": LESS, "barriers": (WORSE, CHANGED),  # a missing one may be a race
        "tensor cores": MORE, "loop": MORE, "load": MORE, "store": MORE, "code": EITHER,
    },
    "executed": {
        "run macs": LESS, "run instructions": LESS, "l2": LESS, "once": LESS, "loads": MORE,
        "stores": MORE, "conflicts": LESS,
    },
}  # fmt: skip
# What is held against an instance that the baseline does not have
IDEAL = {"compiled": {"spill": 0}, "executed": {"conflicts": 0.0}}


@dataclass(frozen=True)
class Change:
    """Of one fact. fact: "error" where an instance no longer compiles or runs."""

    group: str
    fact: str
    base: Any
    new: Any
    verdict: str


@dataclass(frozen=True)
class Difference:
    """Of one entry. base, new: its names, None where a side has none."""

    target: str
    base: str | None
    new: str | None
    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        """The new one; of an entry that is gone, the old one."""
        return self.new or self.base

    @property
    def verdict(self) -> str:
        """Worse with any worse fact, else better with any better one."""
        found = {change.verdict for change in self.changes}
        return next((verdict for verdict in VERDICTS if verdict in found), CHANGED)

    @property
    def broken(self) -> bool:
        """It does not compile or run."""
        return any(change.fact == "error" for change in self.changes)


def compare(target: str, base: Summary, new: Summary) -> list[Difference]:
    """Worse ones first. What was not executed this time is not compared with what was."""
    found = [
        Difference(target, old, name, tuple(_changes(base.get(old, {}), new.get(name, {}))))
        for old, name in _pairs(base, new)
    ]
    found = [d for d in found if d.changes or d.base != d.new]
    return sorted(found, key=lambda d: VERDICTS.index(d.verdict))


def _changes(base: Entry, new: Entry) -> Iterator[Change]:
    for group, facts in new.items():
        if "error" in facts:
            yield Change(group, "error", None, facts["error"], WORSE)
            continue
        accepted = base.get(group) or {**facts, **IDEAL.get(group, {})}
        for fact, value in facts.items():
            if value != accepted[fact]:
                verdict = _verdict(RULES[group][fact], accepted[fact], value)
                yield Change(group, fact, accepted[fact], value, verdict)


def _verdict(rule: tuple[str, str], base: Any, new: Any) -> str:
    if base is None or new is None:  # a loop, load or store that was not there, or is gone
        return CHANGED
    return rule[0] if new > base else rule[1]


def _pairs(base: Summary, new: Summary) -> Iterator[tuple[str | None, str | None]]:
    """Names of one entry before and now. An instance's name changes with its tile."""
    gone = [name for name in base if name not in new]
    for name in new:
        if name in base:
            yield name, name
            continue
        alike = [old for old in gone if _same_step(old, name)]
        old = max(alike, key=lambda old: _likeness(old, name), default=None)
        if old:
            gone.remove(old)
        yield old, name
    yield from ((name, None) for name in gone)


def _same_step(one: str, other: str) -> bool:
    """And a batch in common."""
    same = one.split(" ")[0] == other.split(" ")[0]
    return same and bool(set(batches(one)) & set(batches(other)))


def _likeness(one: str, other: str) -> tuple[bool, bool]:
    """Whether the kernel is the same, and all batches."""
    a, b = one.split(" "), other.split(" ")
    return a[2:3] == b[2:3], a[1] == b[1]
