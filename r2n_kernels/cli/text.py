"""Text for people on a terminal: messages and columns."""

from __future__ import annotations

import sys
import unicodedata


def say(message: str) -> None:
    """A line on standard error; nothing where that is closed."""
    if sys.stderr is not None:
        print(message, file=sys.stderr)


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
