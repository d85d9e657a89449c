"""Rows and vectors become .npz, .npy and .safetensors, written as they are read: none is held."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from ..errors import ConfigError
from .kept import BLOCK_BYTES, BLOCK_ROWS, Kept, Record

SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; longer ones are refused by safetensors' readers
HEADER_ROOM = 4096  # what the header says besides the rows
COLUMNS = {"paths": "path", "status": "status", "error": "error"}  # and the records' keys


def write_npz(file: BinaryIO, kept: Kept, name: str) -> None:
    """Write `paths`, `status`, `error` ("" if none), deflated, and the vectors under `name`.

    A string array is as wide as its longest string in every row; deflated, that takes no room.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for column, key in COLUMNS.items():
            with archive.open(_member(column, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as out:
                _write_strings(out, kept, key)
        with archive.open(_member(name, zipfile.ZIP_STORED), "w", force_zip64=True) as out:
            write_npy(out, kept)


def write_npy(file: Any, kept: Kept) -> None:
    """Write the vectors alone, [N, D]."""
    _write_header(file, np.dtype(kept.dtype).newbyteorder("<"), (kept.rows, kept.width))
    for block in kept.vectors():
        file.write(block.tobytes())


def write_safetensors(file: BinaryIO, kept: Kept, name: str) -> None:
    """Write the vectors under `name`, and `paths`, `status`, `error` as JSON lists in the metadata.

    The format is written by hand: safetensors' own writer wants all of it in memory.
    """
    size = kept.rows * kept.vector_bytes
    dtype = {"float32": "F32", "float16": "F16"}[kept.dtype or ""]
    tensor = {"dtype": dtype, "shape": [kept.rows, kept.width], "data_offsets": [0, size]}
    file.write(bytes(8))
    length = 0
    for text in _header(kept, {name: tensor}):
        length += file.write(text.encode("ascii"))
    length += file.write(b" " * (-length % 8))
    for block in kept.vectors():
        file.write(block.tobytes())
    file.seek(0)
    file.write(struct.pack("<Q", length))
    file.seek(0, 2)


class HeaderRoom:
    """HeaderRoom counts what the header of a .safetensors still takes, while rows are made."""

    def __init__(self, kept: Kept) -> None:
        self._folder, self._rows, self._bytes = kept.folder, 0, HEADER_ROOM
        for record in kept.records():
            self.admit([record])

    def admit(self, records: Sequence[Record]) -> None:
        """Count rows. Raises ConfigError where they do not fit any more."""
        keys = COLUMNS.values()
        self._bytes += sum(len(_inner(record[key])) + 2 for record in records for key in keys)
        if self._bytes > SAFETENSORS_HEADER_LIMIT:
            raise ConfigError(
                f"the header of a .safetensors holds {self._rows} rows with such names, and no "
                f"more; rename {str(self._folder)!r} to NAME.npz.partial, and go on with "
                "--output NAME.npz --resume"
            )
        self._rows += len(records)


def _header(kept: Kept, tensors: dict[str, Any]) -> Iterator[str]:
    yield '{"__metadata__": {'
    for number, (column, key) in enumerate(COLUMNS.items()):
        yield f'{", " if number else ""}"{column}": "['
        for index, record in enumerate(kept.records()):
            yield (", " if index else "") + _inner(record[key])
        yield ']"'
    yield "}, " + json.dumps(tensors)[1:]


def _inner(value: str | None) -> str:
    """Return a value as JSON, as it stands in a string of JSON."""
    return json.dumps(json.dumps(value))[1:-1]


def _write_strings(file: Any, kept: Kept, key: str) -> None:
    width = max((len(record[key] or "") for record in kept.records()), default=0) or 1
    dtype = np.dtype(f"<U{width}")
    _write_header(file, dtype, (kept.rows,))
    most = max(1, min(BLOCK_ROWS, BLOCK_BYTES // dtype.itemsize))
    block: list[str] = []
    for record in kept.records():
        block.append(record[key] or "")
        if len(block) == most:
            file.write(np.array(block, dtype).tobytes())
            block.clear()
    file.write(np.array(block, dtype).tobytes())


def _write_header(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same rows are the same bytes
    member.compress_type = compression
    member.external_attr = 0o644 << 16
    return member
