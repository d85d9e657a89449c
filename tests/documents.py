"""The pages that people read: README, docs and their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)```([\w$]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A Block is what stands between two fences. line: the first one's, from 1."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page but links to another one."""
    found = [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")]
    return sorted(path for path in found if not path.is_symlink())


def blocks(*languages: str) -> Iterator[Block]:
    """Yield the fenced blocks of all pages in one of the languages."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            if found[2] in languages:
                yield Block(path.relative_to(ROOT).as_posix(), line, found[2], found[3])
