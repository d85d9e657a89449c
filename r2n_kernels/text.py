"""Text for people: strangers' names on one line, counts, and tables."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def printable(name: str | os.PathLike) -> str:
    """Return a name on one line: control characters and bytes that are no text as escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(name))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 image", "2 images"."""
    return f"{count} {noun}" + "s" * (count != 1)


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


@dataclass(frozen=True)
class Table:
    """A table has columns, each a title and a style: "<20" or ">9", its side and least width."""

    columns: Sequence[tuple[str, str]]
    gap: str = " "

    @property
    def head(self) -> str:
        return self.line([title for title, _ in self.columns])

    def line(self, cells: Iterable[object]) -> str:
        """Return one row, which may end before the last columns do."""
        pairs = zip(map(str, cells), (style for _, style in self.columns), strict=False)
        return self.gap.join(_padded(cell, style) for cell, style in pairs).rstrip()

    def lines(self, rows: Iterable[Iterable[object]]) -> list[str]:
        return [self.head, *map(self.line, rows)]


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of rows, titles first, with each column as wide as its widest cell.

    The first column is flush left, the others right.
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    styles = [f"<{widths[0]}", *(f">{columns}" for columns in widths[1:])]
    return Table(list(zip(rows[0], styles, strict=True))).lines(rows[1:])


def _padded(cell: str, style: str) -> str:
    space = " " * (int(style[1:]) - width(cell))
    return space + cell if style[0] == ">" else cell + space
