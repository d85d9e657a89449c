"""A listing is a chain of parts; each yields every step-th of its samples from the first on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from ..errors import ConfigError
from .files import reason_of
from .lists import split_names
from .sample import Broken, Sample, source_of
from .spool import Spool

Samples = Generator[Sample, None, int]  # returns how many samples there are, picked or not


class Part(Protocol):
    """A Part is one argument's samples, or those of many names in a row."""

    @property
    def count(self) -> int | None:
        """Return how many samples there are; None if only reading them all would tell."""

    def samples(self, first: int, step: int) -> Samples:
        """Yield samples first, first + step, ...; what breaks on the way is one sample, Broken."""
        ...


def chain(parts: Iterable[Part], first: int, step: int) -> Samples:
    """Yield samples first, first + step, ... of all parts together."""
    before = 0
    for part in parts:
        ahead = first - before
        before += yield from part.samples(ahead if ahead >= 0 else ahead % step, step)
    return before


@dataclass
class One:
    """A One is a single sample."""

    sample: Sample
    count: int = 1

    def samples(self, first: int, step: int) -> Samples:
        if first == 0:
            yield self.sample
        return 1


@dataclass
class Names:
    """These Names of files are in a spool; the count grows while the listing is put together.

    `root` is the folder that they were found in, as a prefix, if its subfolders are their labels.
    """

    spool: Spool
    start: int
    root: str | None = None
    count: int = 0

    def samples(self, first: int, step: int) -> Samples:
        for name in self.spool.read(self.start + first, self.start + self.count, step):
            yield Sample(name, source_of(name), self._label(name))
        return self.count

    def _label(self, name: str) -> str | None:
        if self.root is None or not name.startswith(self.root):
            return None
        label, inner, _ = name.removeprefix(self.root).partition("/")
        return label if inner else None


@dataclass
class Stream:
    """A Stream reads names as they come, once, and opens each as a list's entry."""

    name: str
    file: IO[bytes]
    parts_of: Callable[[str], Iterable[Part]]
    count: None = None
    started: bool = False

    def samples(self, first: int, step: int) -> Samples:
        if self.started:
            raise ConfigError(f"{self.name!r} can be read only once")
        self.started = True
        return (yield from chain(self._parts(), first, step))

    def _parts(self) -> Iterator[Part]:
        empty = True
        try:
            for name in split_names(self.file):
                empty = False
                yield from self._opened(name)
        except (OSError, ValueError) as error:
            yield broken(self.name, reason_of(error))
        else:
            if empty:
                yield broken(self.name, "no name in it")

    def _opened(self, name: str) -> Iterable[Part]:
        try:
            return self.parts_of(name)
        except ConfigError as error:  # too late to refuse the run
            return [broken(name, str(error))]


def unread(name: str) -> One:
    """Return a part that is one path or URL, as it was given."""
    return One(Sample(name, source_of(name)))


def broken(name: str, reason: str) -> One:
    """Return a part that is one row with an error."""
    return One(Sample(name, Broken(reason)))
