"""Text for people: messages, names of files, columns."""

from __future__ import annotations

import os
import sys
import unicodedata


def say(message: str) -> None:
    """A line on standard error; nothing where that is closed."""
    if sys.stderr is not None:
        print(message, file=sys.stderr)


def printable(name: str | os.PathLike) -> str:
    """A name on one line: control characters and bytes that are no text become escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(name))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def counted(count: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {noun}" + "s" * (count != 1)
