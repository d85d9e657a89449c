"""Read the names that a list holds: one a line, or ended by NULs as `find -print0` writes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO

from ..errors import ConfigError
from .files import failing_as, open_binary

CHUNK = 1 << 16
LONGEST = 1 << 20  # bytes of a name: a file that is no list may have no end of line
UTF8, UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")  # what editors put before the first line


def read_list(name: str) -> Iterator[str]:
    """Yield the names in a list file or URL. Raises ConfigError that names it."""
    with failing_as(ConfigError, f"list {name!r}: "), contextlib.closing(open_binary(name)) as file:
        yield from split_names(file)


def split_names(file: IO[bytes]) -> Iterator[str]:
    """Yield names while they come. Raises ValueError if it is no list.

    The first NUL or end of line says which of them ends names. Blank lines are dropped, and a
    carriage return at a line's end; names between NULs are as they are. Any bytes are a name.
    """
    read = getattr(file, "read1", file.read)  # of a pipe, what is there already
    end = rest = b""
    while piece := read(CHUNK):
        rest += piece
        if not end:
            end, rest = _begin(rest)
        if end:
            *names, rest = rest.split(end)
            yield from _names(names, end)
        if len(rest) > LONGEST:
            raise ValueError(f"no list of names: {LONGEST >> 20} MiB without an end of line")
    yield from _names([rest if end else rest.removeprefix(UTF8)], end)


def _begin(content: bytes) -> tuple[bytes, bytes]:
    """Return what ends names, if it is known, and the content without an editor's mark."""
    ends = sorted((content.index(end), end) for end in (b"\0", b"\n") if end in content)
    if not ends:
        return b"", content
    end = ends[0][1]
    if end == b"\0" and content.startswith(UTF16):
        raise ValueError("the list is UTF-16; it must be UTF-8")
    return end, content.removeprefix(UTF8) if end == b"\n" else content


def _names(names: list[bytes], end: bytes) -> Iterator[str]:
    for name in names:
        if end != b"\0":
            name = b"" if name.isspace() else name.removesuffix(b"\r")
            if b"\0" in name:
                raise ValueError("a NUL in a line: no list of names, or names of several lines")
        if name:
            yield os.fsdecode(name)
