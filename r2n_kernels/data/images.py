"""This file finds image files; `read_image` reads one."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from ..decode.reading import FORMATS, read_image
from ..errors import ConfigError

__all__ = ["FORMATS", "SUFFIXES", "find_images", "read_image"]

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif")
OTHER_SUFFIXES = (".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k")
SUFFIXES = frozenset(PHOTO_SUFFIXES + OTHER_SUFFIXES)


def find_images(arguments: Iterable[str | os.PathLike]) -> list[str]:
    """Return paths of the images that command line arguments name, in order; keep duplicates.

    A folder stands for every file below it with an image's suffix, sorted, hidden files included,
    links to folders not followed. Anything else that exists is kept as it is. What does not exist
    is a glob pattern (sorted, `**` for any depth, files only) if it has `*`, `?` or `[`; if not, it
    is kept, and reading it will tell. So are a subfolder that cannot be listed, and beside other
    arguments (a shell's `photos/*` has any subfolder) a folder or pattern without any image.

    Raises ConfigError that names the folders and patterns if they are all there is.
    """
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = [arguments]
    found: list[str] = []
    nothing: list[str] = []
    for argument in map(os.fsdecode, arguments):
        if os.path.isdir(argument):
            matches = _walk(argument)
            reason = f"no image in folder {argument!r}"
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            matches = filter(_is_no_folder, glob.iglob(argument, recursive=True))
            reason = f"no file matches {argument!r}"
        else:
            found.append(argument)
            continue
        paths = sorted(matches)
        if not paths:
            nothing.append(reason)
        found += paths or [argument]
    if nothing and len(nothing) == len(found):
        raise ConfigError("; ".join(nothing))
    return found


def _is_no_folder(path: str) -> bool:
    return not os.path.isdir(path)


def _walk(folder: str) -> Iterator[str]:
    unlisted: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=unlisted.append):
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(parent, name)
    yield from (error.filename for error in unlisted)
