"""Find the column of images in a table, and the one of labels, and read their cells."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..extras import load
from ..text import listed
from .files import MOST, protocol_of
from .sample import Broken, Sample, source_of, too_large

IMAGES = ("image", "img", "jpg", "png", "bytes", "path", "file_name")
LABELS = ("label", "labels", "cls", "fine_label")
PARTS = {"bytes", "path"}  # fields of an image as Hugging Face's datasets keep it


@dataclass(frozen=True)
class Columns:
    """These Columns of a table are read; `classes` names integer labels, if the table does."""

    table: str  # its file's path or URL
    image: str
    label: str | None = None
    classes: tuple[str, ...] | None = None

    @property
    def names(self) -> list[str]:
        return [self.image] if self.label is None else [self.image, self.label]

    def sample(self, batch: Any, index: int, row: int) -> Sample:
        """Return a row of a record batch; `row` counts from the table's first."""
        label = None if self.label is None else batch.column(self.label)[index].as_py()
        cell = batch.column(self.image)[index]
        content, path = _content_of(cell)
        if content is not None:
            name = f"{self.table}#{row}" if path is None else path
            source = content if len(content) <= MOST else Broken(str(too_large(MOST)))
            return Sample(name, source, label)
        if path is None:
            return Sample(f"{self.table}#{row}", Broken("no image in this row"), label)
        path = self._beside(path)
        return Sample(path, source_of(path), label)

    def _beside(self, path: str) -> str:
        """Return a path as seen from the table's folder."""
        if protocol_of(path) is not None or os.path.isabs(path):
            return path
        folder = self.table.rpartition("/")[0]
        return f"{folder}/{path}" if folder or self.table.startswith("/") else path


def columns_of(schema: Any, table: str, column: str | None, labelled: bool) -> Columns:
    """Choose the columns of an Arrow schema. Raises ConfigError that names what there is."""
    image = column or next((name for name in IMAGES if name in schema.names), None)
    there = f"its columns: {listed(schema.names)}"
    if image is None:
        raise ConfigError(f"{table!r} has no column of images by its name; {there}")
    _check(schema, image, table, there)
    if not _holds_images(schema.field(image).type):
        kind = schema.field(image).type
        raise ConfigError(f"{table!r}: column {image!r} holds {kind}, not bytes or paths; {there}")
    if not labelled:
        return Columns(table, image)
    label = next((name for name in LABELS if name in schema.names), None)
    if label is None:
        raise ConfigError(f"{table!r} has none of the columns {', '.join(LABELS)}; {there}")
    _check(schema, label, table, there)
    if not _holds_labels(schema.field(label).type):
        kind = schema.field(label).type
        raise ConfigError(f"{table!r}: column {label!r} holds {kind}, not integers or text")
    return Columns(table, image, label, _classes(schema, label))


def _check(schema: Any, name: str, table: str, there: str) -> None:
    if schema.names.count(name) != 1:
        count = "no" if name not in schema.names else "more than one"
        raise ConfigError(f"{table!r} has {count} column {name!r}; {there}")


def _holds_images(kind: Any) -> bool:
    types = load("pyarrow.types", "parquet", "a table")
    if types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields) if kind.field(i).name in PARTS]
        return bool(fields) and all(_is_bytes(types, field.type) for field in fields)
    return _is_bytes(types, kind)


def _is_bytes(types: Any, kind: Any) -> bool:
    # a column without a value is of the type null
    tests = (types.is_null, types.is_binary, types.is_large_binary, types.is_fixed_size_binary,
             types.is_string, types.is_large_string)  # fmt: skip
    return any(test(kind) for test in tests)


def _holds_labels(kind: Any) -> bool:
    types = load("pyarrow.types", "parquet", "a table")
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_null, types.is_integer, types.is_string, types.is_large_string)
    return any(test(kind) for test in tests)


def _content_of(cell: Any) -> tuple[bytes | None, str | None]:
    """Return the bytes and the path of an image, either of which may be missing."""
    pa = load("pyarrow", "parquet", "a table")
    if not cell.is_valid:
        return None, None
    if isinstance(cell, pa.StructScalar):
        content, path = (cell.get(name) for name in ("bytes", "path"))
        return _bytes_of(content), _text_of(path)
    if isinstance(cell, (pa.StringScalar, pa.LargeStringScalar)):
        return None, _text_of(cell)
    return _bytes_of(cell), None


def _bytes_of(cell: Any) -> bytes | None:
    return cell.as_buffer().to_pybytes() if cell is not None and cell.is_valid else None


def _text_of(cell: Any) -> str | None:
    content = _bytes_of(cell)  # not as_py: a path need not be UTF-8
    return os.fsdecode(content) if content else None


def _classes(schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the names of a ClassLabel of Hugging Face's datasets."""
    content = (schema.metadata or {}).get(b"huggingface", b"{}")
    found: Any
    try:
        found = json.loads(content)
        for key in ("info", "features", label, "names"):
            found = found.get(key, {}) if isinstance(found, dict) else {}
    except ValueError:  # somebody else's metadata
        return None
    names = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return tuple(found) if names and found else None
