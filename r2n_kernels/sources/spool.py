"""Millions of names are kept, and sorted, in the memory of a few."""

from __future__ import annotations

import heapq
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from ..errors import ConfigError

IN_MEMORY = 1 << 20  # bytes; more go into an unnamed temporary file
EVERY = 4096  # names between two whose place is remembered
CHUNK = 1 << 16  # bytes read at once
RUN = 100_000  # names sorted at once


class Spool:
    """A Spool keeps names in order, of any characters but NUL. First all are added, then read."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # ends with this object
        self._marks = array("Q")  # where every EVERY-th name begins
        self._end = self._count = 0
        self._lock = threading.Lock()  # readers share the file's position

    def __len__(self) -> int:
        return self._count

    def add(self, name: str) -> bytes:
        """Keep a name; return how it is kept. Raises ConfigError if no room is left for it."""
        content = name.encode("utf-8", "surrogatepass") + b"\0"
        if self._count % EVERY == 0:
            self._marks.append(self._end)
        try:
            self._file.write(content)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise ConfigError(
                f"no room for the inputs' names in {folder!r} (TMPDIR names another): {error}"
            ) from error
        self._end += len(content)
        self._count += 1
        return content

    def read(self, start: int, stop: int, step: int = 1) -> Iterator[str]:
        """Yield names start, start + step, ... below stop. Several readers may be under way."""
        if start >= stop:
            return
        mark, first = divmod(start, EVERY)
        for name in islice(self._from(self._marks[mark]), first, stop - mark * EVERY, step):
            yield name.decode("utf-8", "surrogatepass")

    def _from(self, offset: int) -> Iterator[bytes]:
        rest = b""
        while offset < self._end:
            with self._lock:
                self._file.seek(offset)
                chunk = self._file.read(CHUNK)
            offset += len(chunk)
            *names, rest = (rest + chunk).split(b"\0")
            yield from names


def in_order(names: Iterable[str]) -> Iterator[str]:
    """Return an iterator over the names, sorted; all have been taken when this returns."""
    left = iter(names)
    run = sorted(islice(left, RUN))
    if len(run) < RUN:
        return iter(run)
    spool = Spool()
    while run:
        for name in run:
            spool.add(name)
        run = sorted(islice(left, RUN))
    size = len(spool)
    starts = range(0, size, RUN)
    return heapq.merge(*(spool.read(start, min(start + RUN, size)) for start in starts))
