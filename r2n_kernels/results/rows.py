"""A row of a result is one input's: its lines in JSON and in CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet runs a cell that begins so
NAMES = ("bytes", "percent")


@dataclass(frozen=True)
class Row:
    """A Row holds an input's name, and the error or the best classes (index, label, probability).

    In a name, bytes that are no UTF-8 are lone surrogates, as `os.fsdecode` has them.
    """

    path: str
    error: str | None = None
    top: Sequence[tuple[int, str | None, float]] = ()
    more: Mapping[str, Any] = field(default_factory=dict)  # for a .jsonl alone


def record_of(row: Row, topk: int | None) -> dict[str, Any]:
    """Return what a line says. topk: classes at most; None: the line has no classes."""
    if row.top and row.error is not None:
        raise ValueError("a row has either classes or an error")
    if len(row.top) > (topk or 0):
        raise ValueError(f"{len(row.top)} classes in a row, {topk or 0} were announced")
    status = "ok" if row.error is None else "error"
    record: dict[str, Any] = {"path": os.fsdecode(row.path), "status": status, "error": row.error}
    if topk is not None:
        record["topk"] = [
            {"index": int(index), "label": label, "probability": _finite(probability)}
            for index, label, probability in row.top
        ]
    return {**record, **row.more}


def json_line(record: dict[str, Any]) -> bytes:
    """Return a line of ASCII: bytes of a name that are no text survive as escaped surrogates."""
    return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


@dataclass(frozen=True)
class CsvLines:
    """CsvLines are a header and rows: path, status, error, top1_index, top1_label, ...

    names: "bytes" leaves the bytes of names as they are, also where they are no UTF-8; "percent"
    writes those bytes, and the character %, as %FF: the file is UTF-8, and
    `urllib.parse.unquote_to_bytes` gives the names back. escape_formulas: a ' before text that a
    spreadsheet would take for a formula. bom: the mark by which Excel knows UTF-8.
    """

    topk: int
    names: str = "bytes"
    escape_formulas: bool = False
    bom: bool = False

    def head(self) -> bytes:
        keys = ("index", "label", "probability")
        columns = [f"top{k}_{key}" for k in range(1, self.topk + 1) for key in keys]
        mark = b"\xef\xbb\xbf" if self.bom else b""
        return mark + self._encoded([["path", "status", "error", *columns]])

    def lines(self, records: Iterable[dict[str, Any]]) -> bytes:
        return self._encoded(map(self._cells, records))

    def _cells(self, record: dict[str, Any]) -> list[Any]:
        path = percent(record["path"]) if self.names == "percent" else record["path"]
        cells = [self._text(path), record["status"], self._text(record["error"])]
        for entry in record["topk"]:
            cells += [entry["index"], self._text(entry["label"]), entry["probability"]]
        return cells + [None] * (3 * (self.topk - len(record["topk"])))

    def _text(self, text: str | None) -> str | None:
        if self.escape_formulas and text is not None and text.startswith(FORMULA):
            return f"'{text}"
        return text

    def _encoded(self, rows: Iterable[Sequence[Any]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        if self.names == "percent":  # an error may quote such a name, too
            return text.getvalue().encode("utf-8", "backslashreplace")
        return name_bytes(text.getvalue())


def name_bytes(name: str) -> bytes:
    """Return a name's bytes; a lone surrogate that stands for no byte keeps its own."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def percent(name: str) -> str:
    """Return a name with % and bytes that are no UTF-8 as %FF."""
    if not any("\ud800" <= c <= "\udfff" for c in name):
        return name.replace("%", "%25")
    text = name_bytes(name.replace("%", "%25")).decode("utf-8", "surrogateescape")
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
