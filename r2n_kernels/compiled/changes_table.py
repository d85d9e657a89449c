"""Differences from the baseline, as text for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any

from .baseline import Summary
from .changes import VERDICTS, Change, Difference

LEGEND = """\
registers, spill (bytes): a thread; shared: bytes a CTA; instructions, barriers: in the machine
code; loop, load, store: bytes a thread of the narrowest, in main loops and altogether; uses,
programs: launches, and CTAs of the largest; code: the PTX's hash. Executed: instructions of all
warps; l2: bytes between SMs and L2; once: distinct bytes; loads, stores: useful share of the
sectors; conflicts: share of shared memory's wavefronts"""

WIDTH = 100  # of lines, where an instance has two long names


def table(found: Mapping[str, Summary], differences: Sequence[Difference]) -> str:
    """One block a target: each entry that differs, and beneath it the facts that do."""
    blocks = []
    for target in dict.fromkeys([*found, *(d.target for d in differences)]):
        mine = [d for d in differences if d.target == target]
        lines = [f"{target}: {len(found.get(target, {}))} entries, {counts(mine)}"]
        for difference in mine:
            lines += _lines(difference)
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, LEGEND] if differences else blocks)


def counts(differences: Iterable[Difference]) -> str:
    """ "2 worse, 1 changed", "as in the baseline"."""
    found = Counter(d.verdict for d in differences)
    parts = [f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict]]
    return ", ".join(parts) or "as in the baseline"


def title(difference: Difference) -> str:
    """ "layer3.1.conv1 b1 conv1 14x14 1024->416 32x32x64 s4 w4 -> 128x128x64 s3 w4"."""
    base, new = difference.base, difference.new
    if base is None or new is None:
        return f"{difference.name} {'is gone' if new is None else 'is new'}"
    old, now = base.split(" "), new.split(" ")
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, now, strict=False)))
    return base if base == new else f"{base} -> {' '.join(now[same:])}"


def brief(difference: Difference) -> str:
    """On one line: "worse: fc b1 linear ... w8 -> w4: spill 0 -> 56, registers 128 -> 255"."""
    facts = ", ".join(f"{c.fact} {_value(c.base)} -> {_value(c.new)}" for c in _shown(difference))
    return ": ".join(filter(None, (difference.verdict, title(difference), facts)))


def record(difference: Difference) -> dict[str, Any]:
    """As JSON has it."""
    return {**asdict(difference), "verdict": difference.verdict}


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
    """Worse ones first; the code's hash only where it is all there is to tell."""
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
