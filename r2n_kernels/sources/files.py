"""Open, list and match files by path or URL; say in a few words why it cannot be done.

URLs go through fsspec, which is imported when the first one is met.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from importlib import import_module
from typing import IO, Any

from ..errors import ConfigError

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HTTP = ("http", "https")
MOST = 1 << 28  # bytes of one image: more are not read


def protocol_of(name: str) -> str | None:
    """Return "s3" of "s3://bucket/photo.jpg"; None of a path."""
    found = URL.match(name) if "://" in name else None
    return found[1].lower() if found else None


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a path or URL ends in one of these suffixes, before the query of a web page."""
    if protocol_of(name) in HTTP:
        name = name.partition("?")[0]
    return name.lower().endswith(suffixes)


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path there; nothing is fetched.

    Raises ConfigError that names the package which the protocol needs.
    """
    try:
        url_to_fs = import_module("fsspec.core").url_to_fs
    except ImportError as error:
        raise ConfigError(f"{url!r} needs fsspec: pip install fsspec") from error
    with failing_as(ConfigError, f"{url!r} cannot be read here: "):  # "Install s3fs to access S3"
        return url_to_fs(url)


def open_binary(name: str) -> IO[bytes]:
    """Open a file or URL to be read. Raises OSError, or what the URL's package raises."""
    if protocol_of(name) is None:
        return open(name, "rb")
    system, path = filesystem(name)
    return system.open(path, "rb")


def size_of(name: str) -> int | None:
    """Return the bytes of a local file; None of a URL, which is not asked."""
    return None if protocol_of(name) else os.stat(name).st_size


def fetch(url: str) -> bytes:
    """Return the content of a URL, but no more than MOST bytes and one."""
    system, path = filesystem(url)
    return system.cat_file(path, start=0, end=MOST + 1)


def entries_of(prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield the names in a local folder, "photos/", and whether each is a folder to go into.

    Links to folders are left out. Raises OSError.
    """
    with os.scandir(prefix[:-1] or "/") as found:
        for entry in found:
            if not _is_folder(entry):
                yield entry.name, False
            elif not entry.is_symlink():
                yield entry.name, True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes in a circle
        return False


def remote_entries_of(url: str) -> Iterator[tuple[str, bool]]:
    """Yield the names in a folder behind a URL, and whether each is a folder. Raises OSError."""
    system, path = filesystem(url)
    prefix = path.rstrip("/") + "/"
    with failing_as(OSError):
        found = system.ls(prefix if protocol_of(url) in HTTP else path, detail=True)
        system.invalidate_cache(path)  # it would keep every folder's listing
    for entry in found:
        inner = entry["name"].removeprefix(prefix).strip("/")
        if inner and "/" not in inner:  # not the folder itself, nor what a page links to
            yield inner, entry["type"] == "directory"


def is_remote_folder(url: str) -> bool:
    """Tell whether a URL is a folder's: it ends with /, or the storage says so."""
    if "::" in url:  # of zip://photos::s3://b/a.zip, the names inside are matched by a pattern
        return False
    if url.endswith("/"):
        return True
    system, path = filesystem(url)
    if protocol_of(url) in HTTP:  # to ask would fetch the page and read its links
        return False
    with failing_as(ConfigError, f"{url!r}: "):
        return system.isdir(path)


def match_remote(pattern: str) -> list[str]:
    """Return the URLs of files that match a pattern, in any order; the URL itself if it exists."""
    system, path = filesystem(pattern)
    with failing_as(ConfigError, f"{pattern!r}: "):
        if system.exists(path):
            return [pattern]
        found = system.glob(path, detail=True)
    paths = [name for name, entry in found.items() if entry["type"] != "directory"]
    chain = pattern[pattern.index("::") :] if "::" in pattern else ""  # zip://*.jpg::s3://b/a.zip
    return [system.unstrip_protocol(path) + chain for path in paths]


@contextlib.contextmanager
def failing_as(kind: type[Exception], what: str = "") -> Iterator[None]:
    """Turn whatever a storage or format raises into one kind of error, `what` before its reason."""
    try:
        yield
    except kind:
        raise
    except Exception as error:  # each package has its own: botocore's, aiohttp's, pyarrow's
        raise kind(what + reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Return an error's reason in a few words, without the path."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0]
