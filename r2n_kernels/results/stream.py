"""A pipe or a terminal gets rows as they come, and keeps none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from .rows import CsvLines, Row, json_line, record_of


class Stream:
    """A Stream has what a Journal has for whoever writes rows: `rows`, `earlier` and `write`."""

    rows = 0  # of an earlier run: a stream is never gone on with

    def __init__(
        self, file: BinaryIO, topk: int, csv: CsvLines | None, extra: Sequence[str] = ()
    ) -> None:
        """Write the header. csv: None for JSON lines."""
        self._file, self._topk, self._csv, self._extra = file, topk, csv, extra
        if csv:
            file.write(csv.head())
            file.flush()

    def earlier(self) -> Iterator[Row]:
        return iter(())

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Write a finished batch, and let the reader have it."""
        if vectors is not None:
            raise ValueError("vectors were not announced")
        records = [record_of(row, self._topk, self._extra) for row in rows]
        self._file.write(
            self._csv.lines(records) if self._csv else b"".join(map(json_line, records))
        )
        self._file.flush()
