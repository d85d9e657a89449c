"""Is a file the one that the Hub means? Its etag is a hash of the contents."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_ID = re.compile(r"[0-9a-f]{40}")


def hash_fault(path: Path, sha256: str, etag: str | None, size: int | None) -> str | None:
    """What is wrong with a file of that sha256, or None. An etag of another form proves nothing."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"has {found_size} bytes, expected {size}"
    if etag and _SHA256.fullmatch(etag) and sha256 != etag:
        return f"has sha256 {sha256}, expected {etag}"
    if etag and _GIT_ID.fullmatch(etag) and (found := git_id_of(path)) != etag:
        return f"has git id {found}, expected {etag}"
    return None


def git_id_of(path: Path) -> str:
    """The id git gives the file's contents, which is the Hub's etag of small files."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def etag_of_cached(path: Path) -> str | None:
    """The cache links a snapshot's file to `blobs/<etag>`; None where it had to copy instead."""
    # One level only: the blob itself may link on, into a store that names files otherwise.
    if not path.is_symlink():
        return None
    target = Path(os.readlink(path))
    return target.name if target.parent.name == "blobs" else None
