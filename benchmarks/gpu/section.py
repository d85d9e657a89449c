"""A section says what is run, and for how long at most; an outcome says how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Command = tuple[str, ...]
OK, FAILED, LATE, SKIPPED = "ok", "failed", "ran over its time", "skipped"


@dataclass(frozen=True)
class Section:
    """A Section runs commands one after the other until one fails.

    seconds: at most, from its turn on. needs: names that `needs` knows; where one is missing, the
    section is skipped. leaves: files that must be there afterwards. setup: it always runs, and the
    rest is nothing without it. times: it waits for what builds beside it.

    begins_with: it starts beside that section, in the background, and is waited for at its own
    turn. build: seconds that such a one may take before it says "ready", counted from its start;
    it then waits for a line on its standard input, which it gets at its turn.

    otherwise: what is tried where this one fails; if it helps, its environment stays for the rest.
    """

    name: str
    seconds: float
    commands: tuple[Command, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    leaves: tuple[Path, ...] = ()
    setup: bool = False
    times: bool = False
    begins_with: str = ""
    build: float = 0.0
    otherwise: Section | None = None


@dataclass(frozen=True)
class Outcome:
    """An Outcome says how a section ended. why: the reason, or what the section said last."""

    name: str
    state: str  # OK, FAILED, LATE or SKIPPED
    seconds: float
    why: str

    @property
    def bad(self) -> bool:
        return self.state in (FAILED, LATE)

    def __str__(self) -> str:
        took = "" if self.state == SKIPPED else f", {self.seconds:.0f} s"
        return f"{self.name}: {self.state}{took}" + (f": {self.why}" if self.why else "")
