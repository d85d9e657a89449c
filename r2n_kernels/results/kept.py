"""What a journal keeps is read here, a block at a time: any number of rows fits into memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ROWS, VECTORS = "rows.jsonl", "vectors.bin"
BLOCK_ROWS, BLOCK_BYTES = 4096, 4 << 20

Record = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """Kept rows lie in a folder: their lines, and per row a vector where the run makes them.

    dtype: the vectors', "float32" or "float16"; width: their length, 0 where no input was good.
    """

    folder: Path
    rows: int
    dtype: str | None
    width: int

    @property
    def vector_bytes(self) -> int:
        """Return the bytes of one vector; 0 where there are none."""
        return self.width * np.dtype(self.dtype).itemsize if self.dtype else 0

    def records(self) -> Iterator[Record]:
        """Yield what the lines say, in order."""
        with open(self.folder / ROWS, "rb") as file:
            for line in islice(file, self.rows):
                yield json.loads(line)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines themselves, many at once."""
        with open(self.folder / ROWS, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def vectors(self) -> Iterator[np.ndarray]:
        """Yield blocks [n, width] of the vectors."""
        with open(self.folder / VECTORS, "rb") as file:
            for start in range(0, self.rows, self._most):
                yield self._read(file, min(self._most, self.rows - start))

    def blocks(self) -> Iterator[tuple[list[Record], np.ndarray | None]]:
        """Yield rows with their vectors [n, width]; with None where the run makes no vectors."""
        with open(self.folder / ROWS, "rb") as rows, contextlib.ExitStack() as stack:
            vectors = stack.enter_context(open(self.folder / VECTORS, "rb")) if self.dtype else None
            lines = islice(rows, self.rows)
            while block := _some(lines, self._most):
                found = self._read(vectors, len(block)) if vectors else None
                yield [json.loads(line) for line in block], found

    @property
    def _most(self) -> int:
        return min(BLOCK_ROWS, max(1, BLOCK_BYTES // max(1, self.vector_bytes)))

    def _read(self, file: BinaryIO, rows: int) -> np.ndarray:
        data = file.read(rows * self.vector_bytes)
        dtype = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(data, dtype).reshape(rows, self.width) if data else np.empty((rows, 0))


def _some(lines: Iterator[bytes], most: int) -> list[bytes]:
    """Return the next lines, so many or so many bytes."""
    block, size = [], 0
    for line in islice(lines, most):
        block.append(line)
        size += len(line)
        if size > BLOCK_BYTES:
            break
    return block
