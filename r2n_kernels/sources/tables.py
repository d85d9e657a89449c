"""Read images from the rows of Parquet files, and of Arrow files as Hugging Face keeps them."""

from __future__ import annotations

import contextlib
import functools
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from ..errors import ConfigError, ImageError
from ..extras import load
from .columns import Columns, columns_of
from .files import failing_as, open_binary, protocol_of
from .parts import Samples
from .sample import Broken, Sample

PARQUET, ARROW = ".parquet", ".arrow"
ROWS = 16  # rows of images in memory at once
BUFFER = 1 << 20  # bytes of a column read at once, instead of a whole row group's

Group = tuple[int, int, Callable[[], Iterator[Any]]]  # rows from, to, and batches of them


@dataclass
class Table:
    """A Table yields a sample for each row; those that cannot be read are Broken."""

    name: str
    columns: Columns
    count: int

    def samples(self, first: int, step: int) -> Samples:
        row = first
        reason = ""
        try:
            with failing_as(ImageError), contextlib.closing(open_binary(self.name)) as file:
                for start, stop, batches in _groups(self.name, file, self.columns.names):
                    stop = min(stop, self.count)
                    if row >= stop:
                        continue
                    try:
                        for sample in self._picked(batches(), start, range(row, stop, step)):
                            yield sample
                            row += step
                    except ImageError as error:
                        reason = str(error)
                    while row < stop:
                        yield self._broken(row, reason or "the file has fewer rows than it says")
                        row += step
        except ImageError as error:
            reason = str(error)
        while row < self.count:
            yield self._broken(row, reason or "the file has fewer rows than before")
            row += step
        return self.count

    def _picked(self, batches: Iterator[Any], start: int, rows: range) -> Iterator[Sample]:
        wanted = iter(rows)
        row = next(wanted, None)
        with failing_as(ImageError):
            while row is not None:
                batch = next(batches, None)
                if batch is None:
                    return
                while row is not None and row < start + batch.num_rows:
                    yield self.columns.sample(batch, row - start, row)
                    row = next(wanted, None)
                start += batch.num_rows

    def _broken(self, row: int, reason: str) -> Sample:
        return Sample(f"{self.name}#{row}", Broken(reason))


def open_table(name: str, column: str | None = None, labelled: bool = False) -> Table:
    """Read what a file says of its columns and rows. Raises ConfigError that names the file."""
    if name.lower().endswith(ARROW) and protocol_of(name) is not None:
        raise ConfigError(f"{name!r}: Arrow files are read from local folders only")
    pa = load("pyarrow", "parquet", repr(name))
    with failing_as(ConfigError, f"{name!r}: "), contextlib.closing(open_binary(name)) as file:
        if _is_parquet(name):
            parquet = load("pyarrow.parquet", "parquet", repr(name)).ParquetFile(file)
            schema, count = parquet.schema_arrow, parquet.metadata.num_rows
        else:  # the rows are counted batch by batch; the images themselves are not touched
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                schema, count = _counted(pa, content)
    return Table(name, columns_of(schema, name, column, labelled), count)


def _counted(pa: Any, content: mmap.mmap) -> tuple[Any, int]:
    with pa.ipc.open_stream(pa.py_buffer(content)) as reader:
        return reader.schema, sum(batch.num_rows for batch in reader)


def _is_parquet(name: str) -> bool:
    return not name.lower().endswith(ARROW)


def _groups(name: str, file: IO[bytes], columns: list[str]) -> Iterator[Group]:
    pa = load("pyarrow", "parquet", repr(name))
    if not _is_parquet(name):
        reader = pa.ipc.open_stream(file)
        yield 0, 1 << 62, reader.__iter__
        return
    open_file = load("pyarrow.parquet", "parquet", repr(name)).ParquetFile
    parquet = open_file(file, buffer_size=BUFFER, pre_buffer=False)
    start = 0
    for group in range(parquet.num_row_groups):
        stop = start + parquet.metadata.row_group(group).num_rows
        read = functools.partial(parquet.iter_batches, ROWS, [group], columns, use_threads=False)
        yield start, stop, read
        start = stop
