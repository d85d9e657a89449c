"""Text for people: strangers' names on one line, and counts."""

from __future__ import annotations

import os


def printable(name: str | os.PathLike) -> str:
    """A name on one line: control characters and bytes that are no text become escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(name))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def counted(count: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {noun}" + "s" * (count != 1)
