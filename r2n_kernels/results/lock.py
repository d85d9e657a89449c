"""One run at a time holds a journal's folder, and its entries are on the disk before its rows."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError
from .recover import RUN, WHOLE


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
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.stat(folder / RUN)
        if not os.path.samestat(found, os.fstat(number)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except (BlockingIOError, FileNotFoundError) as error:  # its run lives, or has just ended
        file.close()
        raise ConfigError(f"another run holds {str(folder)!r}; two cannot write it") from error
    return file


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's entries."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
