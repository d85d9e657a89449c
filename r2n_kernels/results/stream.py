"""A pipe or a terminal gets rows as they come, and keeps none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from .rows import CsvLines, Row, json_line, record_of


class KeepsNothing:
    """What keeps nothing has no rows of an earlier run, and is never gone on with."""

    rows = 0

    def records(self) -> Iterator[dict[str, Any]]:
        return iter(())


class Stream(KeepsNothing):
    """A Stream has what a Journal has for whoever writes rows."""

    def __init__(self, file: BinaryIO, topk: int, csv: CsvLines | None) -> None:
        """Write the header. csv: None for JSON lines."""
        self._file, self._topk, self._csv = file, topk, csv
        if csv:
            file.write(csv.head())
            file.flush()

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Write a finished batch, and let the reader have it."""
        if vectors is not None:
            raise ValueError("vectors were not announced")
        records = [record_of(row, self._topk) for row in rows]
        self._file.write(
            self._csv.lines(records) if self._csv else b"".join(map(json_line, records))
        )
        self._file.flush()
