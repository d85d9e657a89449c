"""This file runs cases in the emulator, and puts their table into its README, between markers."""

from __future__ import annotations

import importlib
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from r2n_kernels.emulator import SCHEDULES, EmulationError, UnsupportedError, emulator

from .registry import ARCHS, CASES, CONSTRUCT, KIND, RIGHT, Case, judge

README = Path(__file__).parents[3] / "r2n_kernels/emulator/README.md"
FAMILIES = (
    "softmax", "matmul", "tma", "norms", "attention", "order", "images", "elementwise", "memory",
    "gluon", "constructs_math", "constructs_memory", "constructs_shape", "constructs_launch",
)  # fmt: skip
CRASHES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
           ValueError)  # fmt: skip
SECONDS = 60  # of CPU time, that a case may take


class Late(Exception):
    """A case did not end in time."""


def load() -> dict[str, Case]:
    """Return every case by its name, in the order of the families."""
    names = [importlib.import_module(f"{__package__}.{family}").__name__ for family in FAMILIES]
    return dict(sorted(CASES.items(), key=lambda item: names.index(item[1].module)))


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise Late in the main thread after so many seconds of CPU time."""

    def late(*_: object) -> None:
        raise Late(f"not done after {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def verdict(case: Case, arch: int, schedule: str = SCHEDULES[0]) -> str:
    """Return "right", "refused: ...", "wrong: ...", or "false alarm: ..." of a right kernel."""
    torch.manual_seed(0)
    try:
        with at_most(SECONDS), emulator(arch=arch, progress=False, schedule=schedule):
            return judge(case.function())
    except UnsupportedError as error:
        return f"refused: {first_line(error)}"
    except EmulationError as error:
        return f"false alarm: {first_line(error)}"
    except Late as error:
        return f"wrong: {error}"
    except CRASHES as error:
        return f"crash: {type(error).__name__}: {first_line(error)}"


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def rows(group: str, cases: Iterable[Case], found: dict[tuple[str, int], str]) -> list[str]:
    """Return one group's table, in Markdown."""
    heads = " | ".join(f"sm_{arch}" for arch in ARCHS)
    out = [f"| {group} | {heads} |", f"|---|{'---|' * len(ARCHS)}"]
    for case in cases:
        cells = (cell(found[case.name, a]) if a in case.archs else "–" for a in ARCHS)
        out.append(f"| {case.name} | {' | '.join(cells)} |")
    return out


def cell(text: str) -> str:
    return text.replace("|", "\\|")[:90].strip()


def table(found: dict[tuple[str, int], str]) -> str:
    """Return the whole table: a sentence of figures, kinds, constructs."""
    groups = {g: [c for c in load().values() if c.group == g] for g in (KIND, CONSTRUCT)}
    right = sum(text == RIGHT for text in found.values())
    head = (
        f"{len(groups[KIND])} kinds and {len(groups[CONSTRUCT])} constructs, {len(found)} runs: "
        f"{right} right ({right / len(found):.1%})."
    )
    return "\n".join([head, "", *rows("kind of kernel", groups[KIND], found), "",
                      *rows("construct", groups[CONSTRUCT], found)])  # fmt: skip


def put(name: str, text: str, path: Path = README) -> None:
    """Write a table between the README's markers of that name."""
    readme = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
    changed, count = re.subn(pattern, lambda m: m[1] + text + m[2], readme, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path} has no markers for {name}")
    path.write_text(changed, encoding="utf-8")
