"""One run at a time holds a journal's folder, and its entries are on the disk before its rows."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError
from .recover import RUN, WHOLE

logger = logging.getLogger(__name__)

# What some file systems of networks say that cannot do it.
LACKING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def locked(folder: Path) -> BinaryIO:
    """Return run.json, open and locked, of a folder that is made where there is none."""
    try:
        folder.mkdir(exist_ok=True)
        names = os.listdir(folder)
        if names and not {RUN, WHOLE} & set(names):
            raise ConfigError(f"{str(folder)!r} is in the way: no run of r2n made it")
        number = os.open(folder / RUN, os.O_RDWR | os.O_CREAT, 0o666)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{str(folder)!r} is in the way: no run of r2n made it") from error
    file = open(number, "r+b", buffering=0)  # noqa: SIM115
    try:
        _lock(file, folder)
        found = os.stat(folder / RUN)
        if not os.path.samestat(found, os.fstat(number)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except (BlockingIOError, FileNotFoundError) as error:  # its run lives, or has just ended
        file.close()
        raise ConfigError(f"another run holds {str(folder)!r}; two cannot write it") from error
    return file


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's entries, where the file system can be asked."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into it, but not list it
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in LACKING:
            raise
    finally:
        os.close(number)


def _lock(file: BinaryIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        logger.warning("%r is not locked (%s): begin no second run", str(folder), error.strerror)
