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

    In a name, bytes that are no UTF-8 are lone surrogates, as `os.fsdecode` has them. extra: what
    else its lines say, as JSON has it, under the names that the output announced.
    """

    path: str
    error: str | None = None
    top: Sequence[tuple[int, str | None, float]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def record_of(row: Row, topk: int | None, extra: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a line says. topk: classes at most; None: the line has no classes."""
    if row.top and row.error is not None:
        raise ValueError("a row has either classes or an error")
    if len(row.top) > (topk or 0):
        raise ValueError(f"{len(row.top)} classes in a row, {topk or 0} were announced")
    if set(row.extra) != set(extra):
        raise ValueError(f"a row has {sorted(row.extra)}, {sorted(extra)} were announced")
    status = "ok" if row.error is None else "error"
    record: dict[str, Any] = {"path": os.fsdecode(row.path), "status": status, "error": row.error}
    if topk is not None:
        record["topk"] = [
            {"index": int(index), "label": label, "probability": _finite(probability)}
            for index, label, probability in row.top
        ]
    return record | {name: row.extra[name] for name in extra}


def row_of(record: Mapping[str, Any], extra: Sequence[str] = ()) -> Row:
    """Return the row that a line was made of."""
    entries = record.get("topk", ())
    top = [(entry["index"], entry["label"], entry["probability"]) for entry in entries]
    return Row(record["path"], record["error"], top, {name: record[name] for name in extra})


def json_line(record: dict[str, Any]) -> bytes:
    """Return a line of ASCII: bytes of a name that are no text survive as escaped surrogates."""
    return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


@dataclass(frozen=True)
class CsvLines:
    """CsvLines are a header and rows: path, status, error, top1_index, top1_label, ..., extra.

    names: "bytes" leaves the bytes of names as they are, also where they are no UTF-8; "percent"
    writes those bytes, and the character %, as %FF: the file is UTF-8, and
    `urllib.parse.unquote_to_bytes` gives the names back. escape_formulas: a ' before text that a
    spreadsheet would take for a formula. bom: the mark by which Excel knows UTF-8.
    """

    topk: int
    names: str = "bytes"
    escape_formulas: bool = False
    bom: bool = False
    extra: tuple[str, ...] = ()

    def head(self) -> bytes:
        keys = ("index", "label", "probability")
        columns = [f"top{k}_{key}" for k in range(1, self.topk + 1) for key in keys]
        mark = b"\xef\xbb\xbf" if self.bom else b""
        return mark + self._encoded([["path", "status", "error", *columns, *self.extra]])

    def lines(self, records: Iterable[dict[str, Any]]) -> bytes:
        return self._encoded(map(self._cells, records))

    def _cells(self, record: dict[str, Any]) -> list[Any]:
        path = percent(record["path"]) if self.names == "percent" else record["path"]
        cells = [self._text(path), record["status"], self._text(record["error"])]
        for entry in record["topk"]:
            cells += [entry["index"], self._text(entry["label"]), entry["probability"]]
        cells += [None] * (3 * (self.topk - len(record["topk"])))
        return cells + [self._text(record[name]) for name in self.extra]

    def _text(self, value: Any) -> Any:
        if self.escape_formulas and isinstance(value, str) and value.startswith(FORMULA):
            return f"'{value}"
        return value

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
