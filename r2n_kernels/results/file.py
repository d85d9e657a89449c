"""An output file is complete under its final name, or keeps its rows beside it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError

logger = logging.getLogger(__name__)

SEPARATORS = (os.sep, os.altsep or os.sep)  # at its end, a path is a folder's

Self = TypeVar("Self", bound="ResultFile")


class ResultFile:
    """A ResultFile opens and ends an output file; subclasses put rows into `self._file` (binary).

    Raises ConfigError for a suffix outside `suffixes`, and for a place that cannot be written to.
    """

    suffixes: tuple[str, ...] = ()

    def __init__(self, path: str | os.PathLike) -> None:
        # Through symbolic links: it is the file that is replaced, not the link.
        self.target = Path(os.path.realpath(path))
        self.suffix = Path(path).suffix.lower()
        self.rows = 0
        self.partial: Path | None = None  # where the rows of a run that ended early are
        if self.suffix not in self.suffixes:
            known = ", ".join(self.suffixes)
            raise ConfigError(f"cannot write {str(path)!r}: its suffix must be one of {known}")
        if self.target.is_dir() or os.fspath(path).endswith(SEPARATORS):
            raise ConfigError(f"cannot write {str(path)!r}: it is a folder")

    def __enter__(self: Self) -> Self:
        self._temporary = self.target.with_name(f"{self.target.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._file = open(self._temporary, "xb")
        except OSError as error:
            raise ConfigError(f"cannot write {str(self.target)!r}: {error.strerror}") from error
        try:
            self._start()
        except BaseException:
            self._file.close()
            self._temporary.unlink()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        complete = False
        try:
            self._finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            complete = kind is None
        finally:
            # Closing flushes again, so it fails again on a full disk; that error is under way.
            with contextlib.suppress(OSError):
                self._file.close()
            self._put_in_place(complete)

    def _put_in_place(self, complete: bool) -> None:
        if complete:
            os.replace(self._temporary, self.target)
        elif self.rows:
            self.partial = self._partial_name()
            os.replace(self._temporary, self.partial)
            logger.warning("ended early: rows kept in %r: %d", str(self.partial), self.rows)
        else:
            self._temporary.unlink()

    def _partial_name(self) -> Path:
        """Return `<name>.partial`, or with a number behind: it replaces no earlier run's rows."""
        numbers = itertools.chain([""], itertools.count(2))
        paths = (self.target.with_name(f"{self.target.name}.partial{n}") for n in numbers)
        return next(path for path in paths if not path.exists())

    def _start(self) -> None:
        """This is called once the file is open."""

    def _finish(self) -> None:
        """This is called before the file is closed, also after an error."""


def status_of(error: str | None) -> str:
    return "ok" if error is None else "error"
