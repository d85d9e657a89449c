"""A run that was killed left files of unlike lengths: find what all of them have, cut the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..text import printable
from .kept import ROWS, VECTORS

RUN, SHAPE, WHOLE = "run.json", "vectors.json", "whole.json"
NEW = "new.tmp"  # no suffix that a listing of the folder would read
LONG = 80  # characters of a value that are shown


@dataclass(frozen=True)
class Found:
    """Found is what a folder has. lines: those that a reader finds; rows: those to go on behind.

    whole: no row is missing, only the conversion is. width: of vectors, 0 where none is known.
    """

    lines: int = 0
    rows: int = 0
    row_bytes: int = 0
    vector_bytes: int = 0
    width: int = 0
    whole: bool = False


def find(folder: Path, identity: Mapping[str, Any] | None) -> Found:
    """Count whole batches, or all rows where the run had come to its end; nothing is changed.

    Raises ConfigError where there are rows, and nobody knows whose.
    """
    rows_file = folder / ROWS
    if not rows_file.exists() or not rows_file.stat().st_size:
        return Found()
    if identity is None:
        raise ConfigError(f"{str(folder / RUN)!r} is damaged: whose rows lie there, is not known")
    dtype, batch_size = identity["vectors"], identity["--batch-size"]
    width = _json(folder / SHAPE).get("width", 0) if dtype else 0
    vector_bytes = width * np.dtype(dtype).itemsize if dtype else 0
    lines = usable = sum(1 for _ in _sound(rows_file))
    if vector_bytes:
        usable = min(lines, (folder / VECTORS).stat().st_size // vector_bytes)
    elif dtype:
        usable = sum(1 for _ in _failed(rows_file))
    whole = _json(folder / WHOLE).get("rows") == usable == lines
    rows = usable if whole else usable - usable % batch_size
    row_bytes = sum(map(len, islice(_sound(rows_file), rows)))
    return Found(lines, rows, row_bytes, rows * vector_bytes, width, whole)


def cut(folder: Path, found: Found) -> None:
    """Drop what lies behind the rows to go on from; all of it where there are none."""
    if not found.rows:
        clear(folder)
        (folder / WHOLE).unlink(missing_ok=True)
        return
    os.truncate(folder / ROWS, found.row_bytes)
    os.truncate(folder / VECTORS, found.vector_bytes)
    if not found.whole:
        (folder / WHOLE).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Delete the rows, first, then all that goes with them; the run's own two files stay."""
    half = [*folder.glob(NEW), *folder.glob("*.json.*.tmp")]  # of a run that was killed
    for path in (folder / ROWS, folder / VECTORS, folder / SHAPE, *half):
        path.unlink(missing_ok=True)


def converted(folder: Path) -> bool:
    """Tell whether a run has done all but delete its folder."""
    if not folder.is_dir():
        return not folder.exists()
    names = os.listdir(folder)
    return not names or (WHOLE in names and ROWS not in names)


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return the first thing in which two runs differ, or nothing."""
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            return f"{key} {_shown(then.get(key))}, this run has {_shown(now.get(key))}"
    return None


def _sound(path: Path) -> Iterator[bytes]:
    """Yield lines up to the first that was not finished, or that a power cut left as zeros."""
    with open(path, "rb") as file:
        for line in file:
            if not (line.startswith(b'{"path": ') and line.endswith(b"}\n")) or b"\0" in line:
                return
            yield line


def _failed(path: Path) -> Iterator[bytes]:
    """Yield lines up to the first of a good row: until then no vector's length is known."""
    for line in _sound(path):
        if json.loads(line)["error"] is None:
            return
        yield line


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}


def _shown(value: Any) -> str:
    text = printable(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= LONG else f"{text[:LONG]}..."
