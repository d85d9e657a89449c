"""Go through a tar archive member by member, and never take damage for its end."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from ..errors import ImageError
from ..text import counted
from .files import failing_as, has_suffix, open_binary
from .sample import too_large

HEADER = 1 << 20  # bytes of a long name or of extended attributes
HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
           tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # fmt: skip
LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


class Member(tarfile.TarInfo):
    """A Member is a TarInfo that takes nothing but the end mark for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Member:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end mark
            reason = "truncated: no end mark" if len(buf) < tarfile.BLOCKSIZE else str(error)
            raise tarfile.ReadError(reason) from error
        if member.type in HEADERS and member.size > HEADER:
            raise tarfile.ReadError("a header that is too long")
        return member


class Unusable(Exception):
    """A member cannot be used, but the archive goes on after it."""


@contextlib.contextmanager
def open_tar(name: str, kind: type[Exception], what: str = "") -> Iterator[tarfile.TarFile]:
    """Open an archive, and read its first header. Raises `kind`, with `what` before the reason."""
    with contextlib.ExitStack() as stack:
        with failing_as(kind, what):
            file = stack.enter_context(contextlib.closing(open_binary(name)))
            if not has_suffix(name, (".tar",)):
                file = stack.enter_context(cast(IO[bytes], gzip.GzipFile(fileobj=file)))
            mode: Any = "r:" if file.seekable() else "r|"
            tar = stack.enter_context(
                tarfile.open(fileobj=file, mode=mode, tarinfo=Member, encoding="utf-8")
            )
        yield tar


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members. Raises ImageError where the archive is damaged or ends too early."""
    for before in itertools.count():
        with failing_as(ImageError, f"damaged after {counted(before, 'member')}: "):
            member = tar.next()
        if member is None:
            return
        tar.members.clear()  # type: ignore[attr-defined]  # or all of them would be kept
        yield member


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    """Return a member's bytes. Raises Unusable, or ImageError if the archive is damaged there."""
    if not member.isreg():
        raise Unusable("a link in the archive" if member.type in LINKS else "not a regular file")
    if member.size > most:
        raise Unusable(str(too_large(most)))
    with failing_as(ImageError, f"damaged in {member.name!r}: "):
        file = tar.extractfile(member)
        return file.read() if file else b""
