"""Put a listing together from arguments and the entries of lists, and count and hash it."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator

from ..errors import ConfigError
from . import tars
from .files import (
    entries_of,
    filesystem,
    has_suffix,
    is_remote_folder,
    match_remote,
    protocol_of,
    reason_of,
    remote_entries_of,
    size_of,
)
from .lists import read_list
from .parts import Names, One, Part, Stream, broken, unread
from .paths import Entries, is_image, is_pattern, match, walk
from .saved import saved_files
from .spool import Spool, in_order
from .tables import ARROW, PARQUET, Table, open_table

STANDARD_INPUT = "-"


class Listing:
    """A Listing takes arguments in order, and opens what can be opened before a run.

    `labelled`: samples carry labels. `column`: of tables, the one that holds the images.
    """

    def __init__(self, column: str | None, labelled: bool) -> None:
        self.column, self.labelled = column, labelled
        self.parts: list[Part] = []
        self.files: list[str] = []
        self.passed_over: dict[str, int] = {}
        self.nothing: list[str] = []  # reasons why an argument names no image
        self.classes: tuple[str, ...] | None = None
        self.streams = self.tables = False
        self._digest = hashlib.sha256()
        self._spool = Spool()
        self._protocols: set[str] = set()

    @property
    def digest(self) -> str | None:
        return None if self.streams else self._digest.hexdigest()

    def argument(self, text: str) -> None:
        """Take an argument of the command line. Raises ConfigError if it opens badly."""
        if text == STANDARD_INPUT:
            self._stream()
        elif text.startswith("@") and not os.path.lexists(text):
            self._list(text[1:])
        elif protocol_of(text) is None and is_pattern(text) and not os.path.isdir(text):
            self._matched(text, match(text))
        elif protocol_of(text) is not None and ("*" in text or "[" in text):
            self._protocol(text)
            self._matched(text, in_order(match_remote(text)))
        elif os.path.isdir(text):
            self._folder(text)
        else:
            self.files += [text] if protocol_of(text) is None else []
            self.entry(text)

    def entry(self, name: str) -> None:
        """Take an entry of a list; one with an image's suffix is not looked at before the run."""
        if is_image(name):
            self._protocol(name)
            self._name(name)
        elif protocol_of(name) is None:
            self._folder(name) if os.path.isdir(name) else self._file(name)
        elif has_suffix(name, (*tars.SUFFIXES, PARQUET, ARROW)):
            self._file(name)
        else:
            self._protocol(name)
            self._remote_folder(name) if is_remote_folder(name) else self._file(name)

    def opened(self, name: str) -> Iterable[Part]:
        """Return the parts of an entry that comes while the run is under way."""
        if is_image(name):
            return [unread(name)]
        inner = Listing(self.column, self.labelled)
        inner.passed_over = self.passed_over
        inner.entry(name)
        if inner.classes is not None:
            return [broken(name, "its labels have names, which only an argument's are known")]
        return inner.parts

    def _stream(self) -> None:
        if self.streams:
            raise ConfigError("'-' names standard input, which can be read only once")
        if sys.stdin is None:
            raise ConfigError("'-' names standard input, which is closed")
        self.streams = True
        self.parts.append(Stream(STANDARD_INPUT, sys.stdin.buffer, self.opened))

    def _list(self, name: str) -> None:
        self._protocol(name)
        self.files.append(name)
        empty = True
        for entry in read_list(name):
            self.entry(entry)
            empty = False
        if empty:
            reason = f"no name in list {name!r}"
            self._none(broken(f"@{name}", reason), reason)

    def _matched(self, pattern: str, names: Iterable[str]) -> None:
        empty = True
        for name in names:
            self._file(name)
            empty = False
        if empty:
            self._none(unread(pattern), f"no file matches {pattern!r}")

    def _folder(self, folder: str) -> None:
        saved = saved_files(folder)
        if saved is None:
            self._walked(folder, folder, entries_of)
        else:
            for file in saved:
                self._table(file)

    def _remote_folder(self, url: str) -> None:
        folder = url.rstrip("/") + "/"

        def entries(prefix: str) -> Iterator[tuple[str, bool]]:
            try:
                yield from remote_entries_of(prefix)
            except OSError as error:
                if prefix == folder:
                    raise ConfigError(f"{url!r}: {reason_of(error)}") from error
                raise

        self._walked(url, folder, entries)

    def _walked(self, name: str, folder: str, entries: Entries) -> None:
        """Take a folder's images; if it has none, its Parquet files, or else its archives."""
        root = os.path.join(folder, "") if self.labelled else None
        empty = True
        passed_over: dict[str, int] = {}
        for path in walk(folder, is_image, passed_over, entries):
            self._name(path, root)
            empty = False
        for suffixes in ((PARQUET,), tars.SUFFIXES) if empty and passed_over else ():
            others: dict[str, int] = {}
            wanted = functools.partial(has_suffix, suffixes=suffixes)
            for path in walk(folder, wanted, others, entries):
                self._file(path)
                empty = False
            if not empty:
                passed_over = others
                break
        if empty:
            self._none(unread(name), f"no image in folder {name!r}")
        for suffix, count in passed_over.items():
            self.passed_over[suffix] = self.passed_over.get(suffix, 0) + count

    def _file(self, name: str) -> None:
        self._protocol(name)
        if has_suffix(name, tars.SUFFIXES):
            archive = tars.Tar(name, self.labelled)
            archive.check()
            self._shard(archive, name)
        elif has_suffix(name, (PARQUET, ARROW)):
            self._table(name)
        else:
            self._name(name)

    def _table(self, name: str) -> None:
        table = open_table(name, self.column, self.labelled)
        self.tables = True
        classes = table.columns.classes
        if self.classes is not None and classes not in (None, self.classes):
            raise ConfigError(f"the labels of {name!r} are of other classes than those before")
        self.classes = self.classes or classes
        if table.count:
            self._shard(table, f"{name}\0{table.count}\0{table.columns.image}")
        else:
            self._none(broken(name, f"no row in {name!r}"), f"no row in {name!r}")

    def _shard(self, part: tars.Tar | Table, identity: str) -> None:
        self.files.append(part.name)
        self._append(part, f"{identity}\0{size_of(part.name)}")

    def _name(self, name: str, root: str | None = None) -> None:
        if "\0" in name:  # no file's; reading it will tell
            self._append(unread(name), name)
            return
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Names) or last.root != root:
            last = Names(self._spool, len(self._spool), root)
            self.parts.append(last)
        self._digest.update(self._spool.add(name))
        last.count += 1

    def _none(self, part: One, reason: str) -> None:
        """Keep a row for an argument without any image: reading it will tell."""
        self.nothing.append(reason)
        self._append(part, part.sample.name)

    def _append(self, part: Part, identity: str) -> None:
        self.parts.append(part)
        self._digest.update(f"{identity}\0".encode("utf-8", "surrogatepass"))

    def _protocol(self, name: str) -> None:
        """Raise ConfigError if the package that a URL's protocol needs is missing."""
        protocol = protocol_of(name)
        if protocol is not None and protocol not in self._protocols:
            filesystem(name)
            self._protocols.add(protocol)
