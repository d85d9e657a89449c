"""Results go where a file may be replaced, or into a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import ConfigError
from ..files import Place, place_of


def find_place(path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> Place:
    """Return where a path leads. Raises ConfigError where nothing may be written there."""
    try:
        return place_of(path, inputs)
    except OSError as error:
        raise ConfigError(f"cannot write {os.fspath(path)!r}: {error.strerror}") from error


def check_suffix(path: str | os.PathLike, suffix: str, known: Iterable[str]) -> None:
    """Raise ConfigError for a suffix that names no format."""
    known = tuple(known)
    if suffix not in known:
        told = f"its suffix must be one of {', '.join(known)}"
        raise ConfigError(f"cannot write {os.fspath(path)!r}: {told}")
