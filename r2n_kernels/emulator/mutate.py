"""This file drops or weakens a kernel's synchronisation, one instruction at a time.

A mutant that gives wrong numbers and no report is a hole in the race detector; one that gives right
numbers under every schedule and no report shows an instruction that nothing depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .lines import source_files, source_of

DROPPED = re.compile(
    r"\s*(?:@!?\S+\s+)?(bar(?:rier)?(?:\.cta)?\.sync|bar\.warp\.sync|fence\.proxy\.async"
    r"|tcgen05\.wait::\w+|tcgen05\.commit)\b[^;]*;"
)
COUNTED = re.compile(r"\s*((?:cp\.async(?:\.bulk)?|wgmma)\.wait_group)([\w.]*)\s+(\d+)\s*;")
WAIT = re.compile(r"\s*mbarrier\.try_wait\.\S+\s+(\S+?)\s*,[^;]*;")
NEVER = 99  # groups that may be in flight: no wait at all


@dataclass(frozen=True)
class Mutant:
    """A Mutant is PTX with one change. line: from 1; source: "stage.py:84", as in reports."""

    text: str
    description: str  # "no bar.sync", "cp.async.wait_group 1 -> 2"
    line: int
    source: str


def mutants(ptx: str) -> Iterator[Mutant]:
    """Yield one per barrier, proxy fence, commit or wait dropped, and two per wait with a count."""
    files, lines, source = source_files(ptx), ptx.split("\n"), "?"
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith(".loc"):
            source = source_of(line, files) or source
        for description, changed in _changes(line):
            text = "\n".join([*lines[: number - 1], changed, *lines[number:]])
            yield Mutant(text, description, number, source)


def _changes(line: str) -> Iterator[tuple[str, str]]:
    """Yield (description, what to write instead) of a line that synchronises."""
    if match := DROPPED.match(line):
        yield f"no {match[1]}", ""
    elif match := COUNTED.match(line):
        name, modifiers, keep = match[1], match[2], int(match[3])
        yield f"{name} {keep} -> {keep + 1}", f"{name}{modifiers} {keep + 1};"
        yield f"no {name}", f"{name}{modifiers} {NEVER};"
    elif match := WAIT.match(line):
        yield "no mbarrier wait", f"setp.eq.u32 {match[1]}, 0, 0;"
