"""People read these texts: strangers' names and values on one line, counts, short lists, tables."""

from __future__ import annotations

import os
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


def printable(name: str | os.PathLike) -> str:
    """Return a name on one line: control characters and bytes that are no text become escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(name))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring, self.maxother, self.maxlevel = 80, 80, 3

    def repr_int(self, x: int, _level: int) -> str:
        # Python refuses to write out the longest, and nobody reads the long.
        return repr(x) if abs(x) < 10**20 else f"an integer of {x.bit_length()} bits"


def show(value: Any) -> str:
    """Return a value in a few words on one line."""
    return printable(_Brief().repr(value))


def counted(count: int, noun: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{count} {noun}" + "s" * (count != 1)


def listed(items: Sequence[str], most: int = 8) -> str:
    """Return the first items, and how many more there are: "a, b and 3 more"."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def short(text: str, longest: int) -> str:
    """Return a text, the middle left out where it is too long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"


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
