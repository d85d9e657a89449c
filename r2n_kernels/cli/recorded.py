"""Files of benchmark records, as the commands that read them do."""

from __future__ import annotations

from pathlib import Path

from ..benchmarks.records import Record, read
from .text import say


def read_records(name: str) -> tuple[Record, ...]:
    """Raises RecordError; lines that a killed writer left unfinished are told."""
    found = read(Path(name))
    if found.torn:
        say(f"{name}: passed over unfinished lines {', '.join(map(str, found.torn))}")
    return found.records
