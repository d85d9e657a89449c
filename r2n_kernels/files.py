"""Files appear whole under their name, or not at all; what is no file is never replaced by one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
STANDARD = {"stdout": 1, "stderr": 2}
SEPARATORS = (os.sep, os.altsep or os.sep)  # at its end, a path is a folder's


@dataclass(frozen=True)
class Place:
    """A Place is where an output goes: a file that is replaced as a whole, or a stream.

    Streams are pipes, this process's terminal, and descriptors that the caller opened, as
    /dev/stdout: they take bytes as they come.
    """

    path: str
    target: Path  # the file behind symbolic links
    stream: bool

    def open(self) -> BinaryIO:
        """Open a stream to write into. Of a named pipe, this waits for the reader."""
        number = descriptor(self.path)
        return open(self.path if number is None else os.dup(number), "wb")


def place_of(path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> Place:
    """Return the place that a path names. inputs: files that are read, which it must not be.

    Raises OSError, whose strerror says why nothing may be written there: a folder, a device, a
    socket, an input, another user's file, or a folder that takes no file.
    """
    name = os.fspath(path)
    number = descriptor(name)
    if number is not None:
        opened = os.fstat(number)  # a closed one is told
        if stat.S_ISREG(opened.st_mode):
            _check_inputs(inputs, opened, name)
        return Place(name, Path(name), stream=True)
    target = Path(os.path.realpath(name))
    if name.endswith(SEPARATORS):
        raise _refusal(errno.EISDIR, "it is a folder", name)
    found = _stat(target)
    if found is None:
        _check_folder(target.parent, name)
        return Place(name, target, stream=False)
    _check_inputs(inputs, found, name)
    if stat.S_ISFIFO(found.st_mode) or _is_own_terminal(name, found):
        return Place(name, target, stream=True)
    for kind, code, told in KINDS:
        if kind(found.st_mode):
            raise _refusal(code, told, name)
    _check_folder(target.parent, name)
    _check_owner(found, name)
    return Place(name, target, stream=False)


KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "it is a folder"),
    (stat.S_ISSOCK, errno.EINVAL, "it is a socket"),
    (stat.S_ISCHR, errno.EINVAL, "it is a device"),
    (stat.S_ISBLK, errno.EINVAL, "it is a device"),
)


def descriptor(path: str) -> int | None:
    """Return the number of the open file that a path like /dev/stdout names."""
    found = DESCRIPTOR.fullmatch(os.path.normpath(path))
    return None if found is None else STANDARD.get(found[1]) or int(found[2])


@contextlib.contextmanager
def replacing(place: Place, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a file that takes the target's place, mode and owner when all went well.

    It is written into `temporary`, of the same file system (default: beside the target). On an
    error the target is as it was. Raises OSError.
    """
    target = place.target
    temporary = temporary or target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    old = _stat(target)
    if old is not None and not stat.S_ISREG(old.st_mode):  # since the place was looked at
        raise _refusal(errno.EINVAL, "it is no file", place.path)
    try:
        with open(temporary, "wb") as file:
            if old is not None:
                if (old.st_uid, old.st_gid) != _owner(file.fileno()):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(
    path: str | os.PathLike, text: str, inputs: Iterable[str | os.PathLike] = ()
) -> None:
    replace_bytes(path, text.encode("utf-8"), inputs)


def replace_bytes(
    path: str | os.PathLike, content: bytes, inputs: Iterable[str | os.PathLike] = ()
) -> None:
    """Replace the file at once: a reader sees the old one or the new one. Streams are written into.

    Raises OSError, as `place_of` does, before anything is written.
    """
    place = place_of(path, inputs)
    with place.open() if place.stream else replacing(place) as file:
        file.write(content)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _check_inputs(inputs: Iterable[str | os.PathLike], found: os.stat_result, name: str) -> None:
    if any(_is(one, found) for one in inputs):
        raise _refusal(errno.EINVAL, "it is one of the inputs", name)


def _is(path: str | os.PathLike, found: os.stat_result) -> bool:
    """Tell whether a path leads to this file, through links of either kind."""
    try:
        return os.path.samestat(os.stat(path), found)
    except (OSError, ValueError):  # an input that is no file, as a URL: that is not for us to tell
        return False


def _is_own_terminal(name: str, found: os.stat_result) -> bool:
    """Tell whether it is the terminal that this process was started from.

    Nothing is opened to find out: opening a device may do something.
    """
    if not stat.S_ISCHR(found.st_mode):
        return False
    if name == "/dev/tty":
        return True
    return any(os.isatty(fd) and os.fstat(fd).st_rdev == found.st_rdev for fd in range(3))


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise _refusal(errno.ENOENT, "there is no such folder", name)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refusal(errno.EACCES, os.strerror(errno.EACCES), name)


def _check_owner(found: os.stat_result, name: str) -> None:
    """Refuse a file that would change hands: who is not root cannot give a new one away."""
    user = os.geteuid()
    groups = {os.getegid(), *os.getgroups()}
    if user and (found.st_uid != user or found.st_gid not in groups):
        raise _refusal(errno.EPERM, "it belongs to another user or group", name)


def _owner(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_uid, found.st_gid


def _refusal(code: int, told: str, name: str) -> OSError:
    return OSError(code, told, name)
