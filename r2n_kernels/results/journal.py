"""A run's rows are on disk as soon as their batch is, in a folder that a later run goes on from."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ConfigError
from ..files import replace_text
from ..text import counted
from .kept import ROWS, VECTORS, Kept, Record
from .lock import locked, sync_folder
from .recover import RUN, SHAPE, WHOLE, Found, clear, cut, differing, find
from .rows import Row, json_line, record_of

FORMAT = 1  # of the folder
SYNC_SECONDS = 1.0


class Journal:
    """A Journal is the folder FILE.partial of one run; while that lives, nobody else writes there.

    run.json is the run's identity, and is locked; rows.jsonl has a line per row, vectors.bin a raw
    little-endian vector per row (NaN where the input failed), whose length vectors.json says.
    After each batch the kernel has it all, so a killed process loses none; after a second at most
    the disk has it. `rows` counts what is kept, and is what a reader of either file finds.
    """

    _kept: tuple[int, int, int]  # rows, bytes of rows.jsonl, bytes of vectors.bin
    _width: int
    _whole: bool

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], *, resume: bool, batch_size: int,
        topk: int | None, dtype: str | None,
    ) -> None:  # fmt: skip
        """Begin, or with `resume` go on behind the last whole batch.

        Raises ConfigError where another run is alive, where rows are kept and `resume` is not
        given, or where they are those of a run with another identity.
        """
        self.folder, self.batch_size, self.topk, self.dtype = folder, batch_size, topk, dtype
        self.admit: Callable[[Sequence[Record]], object] = lambda records: None  # may raise
        ours = {"format": FORMAT, "--batch-size": batch_size, "topk": topk, "vectors": dtype}
        self.identity: dict[str, Any] = json.loads(json.dumps({**identity, **ours}))
        with contextlib.ExitStack() as stack:
            self._lock = stack.enter_context(locked(folder))
            begun = _identity(self._lock.read())
            found = find(folder, begun)
            if found.lines and not resume:
                raise ConfigError(
                    f"{str(folder)!r} keeps {counted(found.lines, 'row')} of a run that ended "
                    "early: go on with --resume, or delete it"
                )
            if found.rows and (told := differing(begun or {}, self.identity)):
                raise ConfigError(f"--resume: {str(folder)!r} was begun with {told}")
            self._start(found)
            self._rows = stack.enter_context(open(folder / ROWS, "ab", buffering=0))
            self._vectors = stack.enter_context(open(folder / VECTORS, "ab", buffering=0))
            self.sync()
            for one in (folder, folder.parent):
                sync_folder(one)
            self._files = stack.pop_all()

    @property
    def rows(self) -> int:
        return self._kept[0]

    @property
    def kept(self) -> Kept:
        return Kept(self.folder, self.rows, self.dtype, self._width)

    def records(self) -> Iterator[Record]:
        """Yield what the lines of the rows that are kept say."""
        return self.kept.records()

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Keep a finished batch: all of it or, on an error, nothing.

        vectors: [rows without an error, D]; only the last batch may be smaller than the others.
        Raises OSError where the disk takes no more.
        """
        if self._whole:
            raise ConfigError(
                f"{str(self.folder)!r} is whole with {counted(self.rows, 'row')}, and the inputs "
                "have more"
            )
        if len(rows) > self.batch_size or self.rows % self.batch_size:
            raise ValueError(f"batches have {self.batch_size} rows, and the last one may have less")
        records = [record_of(row, self.topk) for row in rows]
        self.admit(records)
        lines = b"".join(map(json_line, records))
        try:
            block = self._block(rows, vectors)
            self._append(self._vectors, block)
            self._append(self._rows, lines)
            count, row_bytes, vector_bytes = self._kept
            self._kept = count + len(rows), row_bytes + len(lines), vector_bytes + len(block)
        except BaseException:
            self._cut()
            raise
        if time.monotonic() >= self._next_sync:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has all rows."""
        for file in (self._vectors, self._rows):
            os.fsync(file.fileno())
        self._next_sync = time.monotonic() + SYNC_SECONDS

    def end(self) -> None:
        """Say on disk that no row is missing."""
        self.sync()
        if not self._whole:
            replace_text(self.folder / WHOLE, json.dumps({"rows": self.rows}))
            self._whole = True

    def close(self) -> None:
        """Let others go on from what is kept."""
        self._files.close()

    def remove(self) -> None:
        """Delete the folder, unless somebody else has put something into it."""
        clear(self.folder)
        for name in (RUN, WHOLE):  # killed here, it is known to have been whole
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not empty
            self.folder.rmdir()
        self.close()

    def _start(self, found: Found) -> None:
        cut(self.folder, found)
        if not found.rows:
            self._lock.seek(0)
            self._lock.truncate()
            self._append(self._lock, json.dumps(self.identity, indent=1).encode("ascii") + b"\n")
            os.fsync(self._lock.fileno())
        self._width = found.width if found.rows else 0
        self._whole = found.whole and found.rows > 0
        self._kept = found.rows, found.row_bytes, found.vector_bytes

    def _block(self, rows: Sequence[Row], vectors: np.ndarray | None) -> bytes:
        """Return what a batch adds to vectors.bin."""
        good = np.array([row.error is None for row in rows], dtype=bool)
        if self.dtype is None:
            if vectors is not None:
                raise ValueError("vectors were not announced")
            return b""
        if vectors is None:
            if good.any():
                raise ValueError("rows without an error need vectors")
            return self._nan(len(rows), self._width)
        vectors = np.asarray(vectors)
        wanted = (int(good.sum()), self._width or (vectors.shape[1] if vectors.ndim == 2 else 0))
        if vectors.shape != wanted:
            raise ValueError(f"vectors of shape {vectors.shape}, expected {wanted}")
        if not self._width and wanted[1]:
            self._begin_vectors(wanted[1])
        block = np.full((len(rows), self._width), np.nan, np.dtype(self.dtype).newbyteorder("<"))
        block[good] = narrowed(vectors, self.dtype)
        return block.tobytes()

    def _begin_vectors(self, width: int) -> None:
        """Say how long vectors are, and make up for the rows before, all of which failed."""
        for start in range(0, self.rows, self.batch_size):
            self._append(self._vectors, self._nan(min(self.batch_size, self.rows - start), width))
        replace_text(self.folder / SHAPE, json.dumps({"dtype": self.dtype, "width": width}))
        sync_folder(self.folder)
        self._width = width
        self._kept = (*self._kept[:2], self.rows * self.kept.vector_bytes)

    def _nan(self, rows: int, width: int) -> bytes:
        return np.full(rows * width, np.nan, np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def _append(self, file: BinaryIO, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, file.name) from error

    def _cut(self) -> None:
        """Drop what a batch left that could not be finished; a full disk has room for that."""
        os.ftruncate(self._rows.fileno(), self._kept[1])
        os.ftruncate(self._vectors.fileno(), self._kept[2])


def narrowed(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Return vectors in the dtype that is kept. Raises ConfigError where one would overflow."""
    with np.errstate(over="ignore"):
        found = vectors.astype(dtype)
    lost = np.isinf(found) & np.isfinite(vectors)
    if lost.any():
        value = vectors[lost][0]
        raise ConfigError(f"a vector has {value:.6g}, which {dtype} cannot hold; keep float32")
    return found


def _identity(text: bytes) -> dict[str, Any] | None:
    """Return what run.json says; None where its run had not come so far as to write it."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "--batch-size" in found else None
