"""Rows and vectors become Parquet, in row groups of bounded size, by pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from ..extras import load
from .kept import Kept, Record
from .rows import name_bytes, percent

GROUP_BYTES, GROUP_ROWS = 16 << 20, 1 << 17


def pyarrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and its Parquet. Raises ConfigError where it is not installed."""
    names = ("pyarrow", "pyarrow.parquet")
    arrow, parquet = (load(name, "parquet", "a .parquet file") for name in names)
    return arrow, parquet


def write_parquet(
    file: BinaryIO, kept: Kept, name: str, topk: int | None, identity: Mapping[str, Any]
) -> None:
    """Write a row per input.

    `path` is UTF-8. A name that is none has its odd bytes, and %, as %FF there, and its own bytes
    in `path_bytes`, which is null for all others. Then `status`, `error`, of classes the lists
    `top_index`, `top_label`, `top_probability`, and the vectors under `name`, fixed-size lists, of
    nulls where the input failed. The identity of the run is the file's metadata "r2n_kernels".
    """
    arrow, parquet = pyarrow()
    columns = Columns(arrow, kept, name, topk)
    schema = columns.schema.with_metadata({"r2n_kernels": json.dumps(identity)})
    texts = ["status", "error", *(["top_label.list.element"] if topk is not None else [])]
    with parquet.ParquetWriter(file, schema, compression="zstd", use_dictionary=texts) as writer:
        group: list[Any] = []
        for records, vectors in kept.blocks():
            group.append(arrow.record_batch(columns.arrays(records, vectors), schema=schema))
            rows = sum(batch.num_rows for batch in group)
            if rows >= GROUP_ROWS or sum(batch.nbytes for batch in group) >= GROUP_BYTES:
                writer.write_table(arrow.Table.from_batches(group), row_group_size=rows)
                group.clear()
        if group:
            writer.write_table(arrow.Table.from_batches(group), row_group_size=GROUP_ROWS)


class Columns:
    """Columns are the schema, and what a block of rows has for it."""

    def __init__(self, arrow: ModuleType, kept: Kept, name: str, topk: int | None) -> None:
        self._arrow, self._topk = arrow, topk
        text = arrow.string()
        fields = [
            arrow.field("path", text, nullable=False),
            arrow.field("path_bytes", arrow.binary()),
            arrow.field("status", text, nullable=False),
            arrow.field("error", text),
        ]
        if topk is not None:
            fields += [
                arrow.field("top_index", arrow.list_(arrow.int32())),
                arrow.field("top_label", arrow.list_(text)),
                arrow.field("top_probability", arrow.list_(arrow.float32())),
            ]
        if kept.dtype:
            value = {"float32": arrow.float32(), "float16": arrow.float16()}[kept.dtype]
            # Parquet has no lists of a fixed size of 0: of no good input, all are null anyway.
            self._vector = arrow.list_(value, kept.width) if kept.width else arrow.list_(value)
            fields.append(arrow.field(name, self._vector))
        self.schema = arrow.schema(fields)

    def arrays(self, records: list[Record], vectors: np.ndarray | None) -> list[Any]:
        paths = [record["path"] for record in records]
        odd = [any("\ud800" <= c <= "\udfff" for c in path) for path in paths]
        pairs = list(zip(paths, odd, strict=True))
        values: list[Any] = [
            [percent(path) if no_text else path for path, no_text in pairs],
            [name_bytes(path) if no_text else None for path, no_text in pairs],
            [record["status"] for record in records],
            [_text(record["error"]) for record in records],
        ]
        if self._topk is not None:
            tops = [record["topk"] for record in records]
            values += [[[entry["index"] for entry in top] for top in tops]]
            values += [[[_text(entry["label"]) for entry in top] for top in tops]]
            values += [[[entry["probability"] for entry in top] for top in tops]]
        types = self.schema.types[: len(values)]
        found = [self._arrow.array(v, t) for v, t in zip(values, types, strict=True)]
        if vectors is not None:
            found.append(self._lists(vectors, np.array([r["status"] != "ok" for r in records])))
        return found

    def _lists(self, vectors: np.ndarray, failed: np.ndarray) -> Any:
        if not vectors.shape[1]:
            return self._arrow.nulls(len(vectors), self._vector)
        # Nulls within: a null in place of a list of fixed size is read by no pyarrow before 25. And
        # so the flattened column has D values a row, which a reader of arrays wants.
        flat = self._arrow.array(vectors.reshape(-1), mask=np.repeat(failed, vectors.shape[1]))
        return self._arrow.FixedSizeListArray.from_arrays(flat, type=self._vector)


def _text(text: str | None) -> str | None:
    """Return text that is UTF-8: what is none, as part of a name in an error, becomes an escape."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
