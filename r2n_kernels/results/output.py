"""A command holds an Output while it writes rows: a file by way of a journal, or a stream."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ..errors import ConfigError
from ..files import Place, replacing
from ..text import counted
from . import arrays, columns
from .journal import Journal
from .lock import sync_folder
from .place import check_suffix, find_place
from .recover import NEW, converted
from .rows import NAMES, CsvLines, Row
from .stream import Stream

logger = logging.getLogger(__name__)

STREAMED = (".csv", ".jsonl")
FORMATS = {
    "classes": (*STREAMED, ".parquet"),
    "embeddings": (".npz", ".npy", ".safetensors", ".parquet"),
}
WITH_VECTORS = (".parquet", ".npz")  # of classes, with all probabilities
ARRAYS = {"classes": "probabilities", "embeddings": "embeddings"}
COLUMNS = {"classes": "probabilities", "embeddings": "embedding"}
ROWS_BESIDE = ".rows.jsonl"  # behind the name of a .npy, which has no room for names


class Run(Protocol):
    """A Run takes rows, batch by batch. rows: those that an earlier run has left."""

    @property
    def rows(self) -> int: ...

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield what their lines say, in order."""

    def write(self, rows: Sequence[Row], vectors: np.ndarray | None = None) -> None:
        """Add a finished batch, with vectors [rows without an error, D]."""


class Output:
    """An Output is a file of rows, one per input, that appears when it is complete.

    kind "classes": the best classes of each input, as .csv, .jsonl or .parquet; with `vectors`
    also all probabilities, as .parquet or .npz. kind "embeddings": .npz, .npy (its rows beside it,
    in FILE.rows.jsonl), .safetensors or .parquet. vectors: what is kept of their bits, "float32"
    or "float16". inputs: files that are read, which the output must not be. escape_formulas, names
    and bom are CSV's, see `CsvLines`.

    Raises ConfigError where the file cannot be written, or has another suffix.
    """

    def __init__(
        self, path: str | os.PathLike, kind: str, *, topk: int = 5, vectors: str | None = None,
        inputs: Iterable[str | os.PathLike] = (), escape_formulas: bool = False,
        names: str = "bytes", bom: bool = False,
    ) -> None:  # fmt: skip
        if names not in NAMES:
            raise ConfigError(f"names are written as {' or '.join(NAMES)}, not {names!r}")
        inputs = list(inputs)
        self.path, self.kind = os.fspath(path), kind
        self._csv = CsvLines(topk, names, escape_formulas, bom)
        self.topk = topk if kind == "classes" else None
        self.vectors = vectors if kind == "classes" else vectors or "float32"
        self.place = find_place(path, inputs)
        self.suffix = self._checked_suffix()
        if self.suffix != ".csv" and self._csv != CsvLines(topk):
            raise ConfigError("only a .csv has escaped formulas, names in percent or a BOM")
        if self.suffix == ".parquet":
            columns.pyarrow()
        beside = f"{self.path}{ROWS_BESIDE}"
        self._beside = find_place(beside, inputs) if self.suffix == ".npy" else None
        self.partial = self.place.target.with_name(f"{self.place.target.name}.partial")

    @property
    def finished(self) -> bool:
        """Tell whether --resume has nothing to do: the file is there, and no rows of a run."""
        return not self.place.stream and self.place.target.exists() and converted(self.partial)

    @contextlib.contextmanager
    def begin(
        self, identity: Mapping[str, object], *, resume: bool = False, batch_size: int = 1
    ) -> Iterator[Run]:
        """Yield a run that takes rows; when it is left without an error, the file takes its place.

        identity: whatever makes rows what they are, as JSON has it; a run is gone on with only
        where all of it is the same. On an error the rows stay in FILE.partial, and that is told.
        """
        if self.place.stream:
            if resume:
                raise ConfigError(f"--resume: {self.path!r} keeps no rows, as a file would")
            with self.place.open() as file:
                yield Stream(file, self._csv.topk, self._csv if self.suffix == ".csv" else None)
            return
        if resume and self.finished:
            raise ConfigError(f"--resume: {self.path!r} is complete already")
        journal = Journal(
            self.partial, identity, resume=resume, batch_size=batch_size, topk=self.topk,
            dtype=self.vectors,
        )  # fmt: skip
        try:
            if self.suffix == ".safetensors":
                journal.admit = arrays.HeaderRoom(journal.kept).admit
            yield journal
            journal.end()
            self._convert(journal)
        except BaseException:
            _leave(journal)
            raise
        journal.remove()

    def _checked_suffix(self) -> str:
        suffix = Path(self.path).suffix.lower()
        if self.place.stream:
            suffix = suffix or ".jsonl"
            if suffix not in STREAMED or self.kind != "classes" or self.vectors:
                told = "a stream takes only classes, as .csv or .jsonl"
                raise ConfigError(f"cannot write {self.path!r}: {told}")
            return suffix
        known = FORMATS[self.kind]
        if self.kind == "classes" and self.vectors:
            known = WITH_VECTORS
            if suffix in STREAMED:
                told = f"all probabilities go into {' or '.join(known)}"
                raise ConfigError(f"cannot write {self.path!r}: {told}")
        check_suffix(self.path, suffix, known)
        return suffix

    def _convert(self, journal: Journal) -> None:
        kept, name = journal.kept, ARRAYS[self.kind]
        if self._beside:  # first: who finds the array finds its rows
            with self._new(self._beside) as file:
                file.writelines(kept.lines())
        with self._new(self.place) as file:
            match self.suffix:
                case ".jsonl":
                    file.writelines(kept.lines())
                case ".csv":
                    file.write(self._csv.head())
                    for records, _ in kept.blocks():
                        file.write(self._csv.lines(records))
                case ".parquet":
                    column = COLUMNS[self.kind]
                    columns.write_parquet(file, kept, column, self.topk, journal.identity)
                case ".npz":
                    arrays.write_npz(file, kept, name)
                case ".npy":
                    arrays.write_npy(file, kept)
                case ".safetensors":
                    arrays.write_safetensors(file, kept, name)

    @contextlib.contextmanager
    def _new(self, place: Place) -> Iterator[BinaryIO]:
        """Yield a file that is on the disk before it takes its place. It grows in the journal."""
        with replacing(place, self.partial / NEW) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        sync_folder(place.target.parent)


def check_names(run: Run, names: Iterable[str]) -> None:
    """Hold the rows that an earlier run has left to the names of the inputs, as many of them.

    Raises ConfigError at the first that differs.
    """
    now = iter(names)
    for number, record in enumerate(run.records(), 1):
        name, kept = next(now, None), record["path"]
        if name != kept:
            has = "end there" if name is None else f"now have {name!r}"
            raise ConfigError(
                f"--resume: row {number:,} of an earlier run is {kept!r}, the inputs {has}"
            )


def _leave(journal: Journal) -> None:
    """Keep the rows for a later run, and say how many; of none nothing stays."""
    if journal.rows:
        told = counted(journal.rows, "row"), str(journal.folder)
        logger.warning("ended early: %s kept in %r; go on with --resume", *told)
        journal.close()
    else:
        journal.remove()
