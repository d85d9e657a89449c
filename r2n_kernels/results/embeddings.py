"""This file writes embeddings as npz or safetensors."""

from __future__ import annotations

import json
import os
import struct
import tempfile

import numpy as np
import torch

from ..errors import ConfigError
from .file import ResultFile, status_of

SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; longer ones are refused by safetensors' readers
_HEADER_ROOM = 4096  # what the header says besides the rows


class EmbeddingWriter(ResultFile):
    """It writes one embedding per image, for any number: embeddings wait on disk, not in memory.

    Both formats hold `embeddings`, float32 [N, D] with a row of NaN for each failed image, and per
    row its path, status and error. `.npz`: arrays of strings `paths`, `status`, `error` ("" if
    none); no pickle. `.safetensors`: metadata `paths`, `status`, `error`, each a JSON list.
    """

    suffixes = (".npz", ".safetensors")

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path)
        self._paths: list[str] = []
        self._errors: list[str | None] = []
        self._width: int | None = None
        self._header_bytes = _HEADER_ROOM

    def write(
        self,
        path: str | bytes | os.PathLike,
        embedding: torch.Tensor | np.ndarray | None = None,
        error: str | None = None,
    ) -> None:
        """Add a row: an embedding [D] of any float dtype and device, or the error.

        Raises ConfigError when a safetensors header cannot hold another row.
        """
        if (embedding is None) == (error is None):
            raise ValueError("a row has either an embedding or an error")
        path = os.fsdecode(path)
        self._reserve_header([path, status_of(error), error])
        if embedding is not None:
            self._spill_row(embedding)
        elif self._width is not None:
            self._spill_nan(self._width)
        self._paths.append(path)
        self._errors.append(error)
        self.rows += 1

    def _start(self) -> None:
        # Rows as raw '<f4'; closed, and so deleted, in _finish.
        self._spill = tempfile.TemporaryFile(dir=self.target.parent)  # noqa: SIM115

    def _spill_row(self, embedding: torch.Tensor | np.ndarray) -> None:
        if isinstance(embedding, torch.Tensor):
            embedding = embedding.detach().float().cpu().numpy()
        row = np.asarray(embedding, dtype="<f4")
        width = row.size if self._width is None else self._width
        if row.shape != (width,):
            raise ValueError(f"embedding of shape {row.shape}, expected ({width},)")
        if self._width is None:
            for _ in range(self.rows):  # all of them failed
                self._spill_nan(width)
            self._width = width
        self._spill.write(row.tobytes())

    def _spill_nan(self, width: int) -> None:
        self._spill.write(np.full(width, np.nan, "<f4").tobytes())

    def _reserve_header(self, values: list[str | None]) -> None:
        if self.suffix != ".safetensors":
            return
        # JSON within JSON: the metadata's values are strings.
        self._header_bytes += sum(len(json.dumps(json.dumps(value))) + 2 for value in values)
        if self._header_bytes > SAFETENSORS_HEADER_LIMIT:
            raise ConfigError(
                f"a safetensors header holds {self.rows} rows with these names; write .npz instead"
            )

    def _finish(self) -> None:
        with self._spill:
            self._spill.flush()
            shape = (self.rows, self._width or 0)
            if 0 in shape:
                embeddings = np.empty(shape, "<f4")
            else:
                embeddings = np.memmap(self._spill, "<f4", "r", shape=shape)
            # An interrupt may have come between the lists of a row that does not count yet.
            paths, errors = self._paths[: self.rows], self._errors[: self.rows]
            status = [status_of(error) for error in errors]
            if self.suffix == ".npz":
                np.savez(
                    self._file,
                    paths=np.array(paths, dtype=str),
                    status=np.array(status, dtype=str),
                    error=np.array([error or "" for error in errors], dtype=str),
                    embeddings=embeddings,
                )
            else:
                rows: dict[str, list] = {"paths": paths, "status": status, "error": errors}
                self._write_safetensors(embeddings, rows)

    def _write_safetensors(self, embeddings: np.ndarray, rows: dict[str, list]) -> None:
        """Write the file format by hand: safetensors' own writer wants all of it in memory."""
        offsets = [0, embeddings.nbytes]
        header = {
            "__metadata__": {key: json.dumps(values) for key, values in rows.items()},
            "embeddings": {"dtype": "F32", "shape": embeddings.shape, "data_offsets": offsets},
        }
        text = json.dumps(header).encode("ascii")
        text += b" " * (-len(text) % 8)
        self._file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, len(embeddings), 1024):
            self._file.write(embeddings[start : start + 1024].tobytes())
