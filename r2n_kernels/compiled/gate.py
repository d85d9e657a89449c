"""A summary is compared with the accepted one: which differences make it worse, and their table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from .inspection import Key
from .summary import Entry, Summary

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
IDEAL: Mapping[str, Mapping[str, Any]] = {"compiled": {"spill": 0}, "executed": {"conflicts": 0.0}}
LEGEND = """\
registers, spill (bytes): a thread; shared: bytes a CTA; instructions, barriers: in the machine
code; loop, load, store: bytes a thread of the narrowest, in main loops and altogether; uses,
programs: launches, and CTAs of the largest; code: the PTX's hash. Executed: instructions of all
warps; l2: bytes between SMs and L2; once: distinct bytes; loads, stores: useful share of the
sectors; conflicts: share of shared memory's wavefronts"""

WIDTH = 100  # of lines, where an instance has two long names


@dataclass(frozen=True)
class Change:
    """It says how one fact differs. fact: "error" where an instance no longer compiles or runs."""

    group: str
    fact: str
    base: Any
    new: Any
    verdict: str


@dataclass(frozen=True)
class Difference:
    """Difference says how an entry differs. base, new: its keys; None on the side that lacks it."""

    target: str
    base: Key | None
    new: Key | None
    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        """Return the new name; of an entry that is gone, the old one."""
        return str(self.new or self.base)

    @property
    def verdict(self) -> str:
        """Return "worse" with any worse fact, else "better" with any better one."""
        found = {change.verdict for change in self.changes}
        return next((verdict for verdict in VERDICTS if verdict in found), CHANGED)

    @property
    def broken(self) -> bool:
        """Return whether it does not compile or run."""
        return any(change.fact == "error" for change in self.changes)


def compare(target: str, base: Summary, new: Summary) -> list[Difference]:
    """Return differences, worse ones first. What was not executed now is not compared."""
    found = [
        Difference(target, old, key, tuple(_changes(_entry(base, old), _entry(new, key))))
        for old, key in _pairs(base, new)
    ]
    found = [d for d in found if d.changes or d.base != d.new]
    return sorted(found, key=lambda d: VERDICTS.index(d.verdict))


def _entry(summary: Summary, key: Key | None) -> Entry:
    return {} if key is None else summary[key]


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


def _pairs(base: Summary, new: Summary) -> Iterator[tuple[Key | None, Key | None]]:
    """Yield the keys of one entry before and now. An instance's key changes with its tile."""
    gone = [key for key in base if key not in new]
    for key in new:
        if key in base:
            yield key, key
            continue
        alike = [old for old in gone if old.step == key.step and {*old.batches} & {*key.batches}]
        old = max(alike, key=lambda old: _likeness(old, key), default=None)
        if old is not None:
            gone.remove(old)
        yield old, key
    yield from ((key, None) for key in gone)


def _likeness(one: Key, other: Key) -> tuple[bool, bool]:
    """Tell whether the kernel is the same, and whether all batches are."""
    return one.words[:1] == other.words[:1], one.batches == other.batches


def table(found: Mapping[str, Summary], differences: Sequence[Difference]) -> str:
    """Show one block per target: each entry that differs, and beneath it the facts that do."""
    blocks = []
    for target in dict.fromkeys([*found, *(d.target for d in differences)]):
        mine = [d for d in differences if d.target == target]
        lines = [f"{target}: {len(found.get(target, {}))} entries, {counts(mine)}"]
        for difference in mine:
            lines += _lines(difference)
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, LEGEND] if differences else blocks)


def counts(differences: Iterable[Difference]) -> str:
    """Return "2 worse, 1 changed" or "as in the baseline"."""
    found = Counter(d.verdict for d in differences)
    parts = [f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict]]
    return ", ".join(parts) or "as in the baseline"


def title(difference: Difference) -> str:
    """Return "layer3.1.conv1 b1 conv1 14x14 1024->416 32x32x64 s4 w4 -> 128x128x64 s3 w4"."""
    base, new = difference.base, difference.new
    if base is None or new is None:
        return f"{difference.name} {'is gone' if new is None else 'is new'}"
    pairs = zip(base.parts, new.parts, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return str(base) if base == new else f"{base} -> {' '.join(new.parts[same:])}"


def brief(difference: Difference) -> str:
    """Return one line: "worse: fc b1 ... w8 -> w4: spill 0 -> 56, registers 128 -> 255"."""
    facts = ", ".join(f"{c.fact} {_value(c.base)} -> {_value(c.new)}" for c in _shown(difference))
    return ": ".join(filter(None, (difference.verdict, title(difference), facts)))


def record(difference: Difference) -> dict[str, Any]:
    """Return the difference as JSON has it."""
    sides = {"base": difference.base, "new": difference.new}
    names = {side: None if key is None else str(key) for side, key in sides.items()}
    return {**asdict(difference), **names, "verdict": difference.verdict}


def _lines(difference: Difference) -> Iterator[str]:
    head = f"  {difference.verdict:<8} {title(difference)}"
    yield head if len(head) <= WIDTH else head.replace(" -> ", f"\n{'':11}-> ")
    for change in _shown(difference):
        if change.fact == "error":
            yield f"    {change.verdict:<8} {change.new.splitlines()[0]}"
        else:
            cells = f"{change.fact:<16}{_value(change.base):>18} -> {_value(change.new):>18}"
            yield f"    {change.verdict:<8} {cells}  {_growth(change)}".rstrip()


def _shown(difference: Difference) -> list[Change]:
    """Return worse ones first; the code's hash only where it is all there is to tell."""
    facts = [c for c in difference.changes if c.fact != "code"] or list(difference.changes)
    return sorted(facts, key=lambda change: VERDICTS.index(change.verdict))


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _growth(change: Change) -> str:
    numbers = (int, float)
    known = isinstance(change.base, numbers) and isinstance(change.new, numbers)
    if not known or isinstance(change.new, bool) or not change.base:
        return ""
    return f"{change.new / change.base - 1:+.1%}"
