"""The pages that people read: README, docs and their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^( *)```([\w$]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


# the file that pages import a kernel from
KERNELS = """
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = tl.program_id(0) * n + column
    x = tl.load(x_ptr + at, mask=column < n, other=float("-inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + at, (e / tl.sum(e, 0)).to(tl.float16), mask=column < n)
"""


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
