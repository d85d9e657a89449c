"""This file writes predictions as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from .file import ResultFile, status_of


class RowWriter(ResultFile):
    """It writes one row per image: path, status ("ok" or "error"), error, and up to `topk` classes.

    `.jsonl`: an object per line, its classes a list `topk` of objects (index, label, probability);
    ASCII only, so bytes of a name that are no UTF-8 survive as escaped lone surrogates (as from
    `os.fsdecode`); a probability that is no finite number is null. `.csv`: columns top1_index,
    top1_label, top1_probability, top2_index, ...; UTF-8, with the bytes of names as they are.
    """

    suffixes = (".jsonl", ".csv")

    def __init__(self, path: str | os.PathLike, topk: int = 5) -> None:
        super().__init__(path)
        self.topk = topk

    def write(
        self,
        path: str | bytes | os.PathLike,
        top: Sequence[tuple[int, str | None, float]] = (),
        error: str | None = None,
    ) -> None:
        """Add a row: the best classes (index, label, probability), best first, or the error."""
        if top and error is not None:
            raise ValueError("a row has either classes or an error")
        if len(top) > self.topk:
            raise ValueError(f"{len(top)} classes in a row, {self.topk} were announced")
        head = [os.fsdecode(path), status_of(error), error]
        if self.suffix == ".csv":
            cells = [cell for entry in top for cell in entry]
            self._write_cells(head + cells + [None] * (3 * (self.topk - len(top))))
        else:
            row: dict[str, Any] = dict(zip(("path", "status", "error"), head, strict=True))
            row["topk"] = [
                {"index": int(index), "label": label, "probability": _finite(probability)}
                for index, label, probability in top
            ]
            self._file.write(json.dumps(row, allow_nan=False).encode("ascii") + b"\n")
        self.rows += 1
        self._file.flush()  # so that even a killed run leaves its rows, in the temporary file

    def _start(self) -> None:
        if self.suffix == ".csv":
            ranks = range(1, self.topk + 1)
            columns = [f"top{k}_{key}" for k in ranks for key in ("index", "label", "probability")]
            self._write_cells(["path", "status", "error", *columns])

    def _write_cells(self, cells: Sequence[Any]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line).writerow(cells)
        self._file.write(line.getvalue().encode("utf-8", "surrogateescape"))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
