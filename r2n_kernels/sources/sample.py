"""A Sample is one input: its row's name, what is read, and its label where that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """A Sample is one input. source: a local path, the content, or an object with `.read()`."""

    name: str
    source: Any
    label: int | str | None = None
