"""Rows become a table of text on standard output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..results import KeepsNothing, Row
from ..text import Table, printable, width

Class = tuple[int, str | None, float]  # index, label, probability
PATH_COLUMNS = 44  # a longer path has a line of its own


class TextTable(KeepsNothing):
    """A text table prints rows on standard output, as wide as the paths of its first batch."""

    def _begin(self, rows: Sequence[Row]) -> None:
        widths = (width(printable(row.path)) for row in rows)
        self.columns = max(4, *(w for w in widths if w <= PATH_COLUMNS), 0)
        styles = (f"<{self.columns}", "<6", ">11", ">5", "<0")
        titles = ("path", "status", "probability", "index", "label")
        self.table = Table(list(zip(titles, styles, strict=True)), gap="  ")
        print(self.table.head)

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Print a batch."""
        if not hasattr(self, "table"):
            self._begin(rows)
        for row in rows:
            self._print(printable(row.path), row.top, row.error)

    def _print(self, path: str, top: Sequence[Class], error: str | None) -> None:
        if width(path) > self.columns:
            print(path)
            path = ""
        if error is not None:
            print(f"{self.table.line([path, 'error'])}   {printable(error)}")
        status = "ok"
        for index, label, probability in top:
            print(
                self.table.line([path, status, f"{probability:.2%}", index, printable(label or "")])
            )
            path, status = "", ""
