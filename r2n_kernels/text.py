"""Text for people: strangers' names and values on one line, counts, and lists cut short."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
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
