"""The registry lists deliberate bugs. A case is host code that takes whether the bug is there.

A line of a kernel with `# BUG name` is where the bug of that name has to be found; where no line
has it, the launch as a whole is refused.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from r2n_kernels.emulator import EmulationError, emulator

from ..kinds.registry import RIGHT, Answer, judge

FOUND = "found"


@dataclass(frozen=True)
class Bug:
    """A Bug is a row of the table. message: a pattern of what the emulator says."""

    name: str
    message: str
    function: Callable[[bool], Answer | Iterable[Answer]]
    arch: int

    @property
    def places(self) -> list[str]:
        """Return the file and line of each place where it has to be found, as in "races.py:12"."""
        path = Path(inspect.getfile(self.function))
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return [f"{path.name}:{n}" for n, line in lines if line.endswith(f"# BUG {self.name}")]


BUGS: dict[str, Bug] = {}


def bug(name: str, message: str, arch: int = 80) -> Callable[[Callable], Callable]:
    """Register a deliberate bug."""

    def register(function: Callable) -> Callable:
        if name in BUGS:
            raise ValueError(f"two bugs are called {name!r}")
        BUGS[name] = Bug(name, message, function, arch)
        return function

    return register


def hunt(case: Bug) -> tuple[str, str]:
    """Run the kernel with its bug: return FOUND, or what is wrong; and what was said."""
    torch.manual_seed(0)
    try:
        with emulator(arch=case.arch, progress=False):
            judged = judge(case.function(True))
    except EmulationError as error:
        said = " ".join(str(error).split())
        if not re.search(case.message, said):
            return "another message", said
        if case.places and not any(re.search(rf"{place}\b", said) for place in case.places):
            return f"another line than {', '.join(case.places)}", said
        return FOUND, said
    return "missed", f"the result is {judged}"


def control(case: Bug) -> str:
    """Run the kernel without its bug: return RIGHT, or what was said of it."""
    torch.manual_seed(0)
    try:
        with emulator(arch=case.arch, progress=False):
            return judge(case.function(False))
    except EmulationError as error:
        return f"false alarm: {str(error)[:300]}"


__all__ = ["BUGS", "FOUND", "RIGHT", "Bug", "bug", "control", "hunt"]
