"""Find image files by command line arguments: paths, folders and glob patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

from ..errors import ConfigError
from ..text import listed, printable
from .files import entries_of
from .spool import in_order

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif")
OTHER_SUFFIXES = (".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k")
SUFFIXES = frozenset(PHOTO_SUFFIXES + OTHER_SUFFIXES)

KINDS = 100  # suffixes that are counted apart, whatever a folder holds
OTHERS = "*"  # all further ones

Entries = Callable[[str], Iterable[tuple[str, bool]]]


def is_image(name: str) -> bool:
    """Tell by the suffix of its name whether a file is an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def walk(
    folder: str,
    wanted: Callable[[str], bool] = is_image,
    passed_over: MutableMapping[str, int] | None = None,
    entries: Entries = entries_of,
) -> Iterator[str]:
    """Yield wanted files below a folder, in the order of their sorted paths; count the others.

    A folder's names are sorted with a "/" at the end of its subfolders', which is how their
    contents' paths go on. A subfolder that cannot be listed is yielded where its contents would
    have been. Memory is what RUN names take and a folder's depth, for any number of files.
    """
    others = {} if passed_over is None else passed_over

    def names(prefix: str) -> Iterator[str]:
        for name, is_folder in entries(prefix):
            if is_folder:
                yield f"{name}/"
            elif wanted(name):
                yield name
            else:
                suffix = os.path.splitext(name)[1].lower()
                suffix = suffix if suffix in others or len(others) < KINDS else OTHERS
                others[suffix] = others.get(suffix, 0) + 1

    def listing(prefix: str) -> tuple[str, Iterator[str]]:
        try:
            return prefix, in_order(names(prefix))
        except OSError:
            return "", iter([prefix[:-1] or "/"])

    below = [listing(os.path.join(folder, ""))]
    while below:
        prefix, left = below[-1]
        name = next(left, None)
        if name is None:
            below.pop()
        elif prefix and name.endswith("/"):
            below.append(listing(prefix + name))
        else:
            yield prefix + name


def is_pattern(argument: str) -> bool:
    """Tell whether an argument is a glob pattern; a file of that very name wins."""
    return glob.has_magic(argument) and not os.path.lexists(argument)


def match(pattern: str) -> Iterator[str]:
    """Return the files that match a pattern, sorted."""
    found = glob.iglob(pattern, recursive=True)
    return in_order(path for path in found if not os.path.isdir(path))


def find_images(arguments: Iterable[str | os.PathLike]) -> list[str]:
    """Return paths of the images that command line arguments name, in order; keep duplicates.

    A folder stands for every file below it with an image's suffix, sorted, hidden files included,
    links to folders not followed. Anything else that exists is kept as it is. What does not exist
    is a glob pattern (sorted, `**` for any depth, files only) if it has `*`, `?` or `[`; if not, it
    is kept, and reading it will tell. So are a subfolder that cannot be listed, and beside other
    arguments (a shell's `photos/*` has any subfolder) a folder or pattern without any image.

    Raises ConfigError that names the folders and patterns if they are all there is.
    """
    found: list[str] = []
    nothing: list[str] = []
    for argument in names_of(arguments):
        if os.path.isdir(argument):
            paths, reason = list(walk(argument)), f"no image in folder {argument!r}"
        elif is_pattern(argument):
            paths, reason = list(match(argument)), f"no file matches {argument!r}"
        else:
            paths, reason = [argument], ""
        if not paths:
            nothing.append(reason)
        found += paths or [argument]
    if nothing and len(nothing) == len(found):
        raise ConfigError("; ".join(nothing))
    return found


def names_of(arguments: Iterable[str | os.PathLike]) -> list[str]:
    """Return arguments as text; one alone may come without a list."""
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = [arguments]
    return [os.fsdecode(argument) for argument in arguments]


def passed_over_text(passed_over: Mapping[str, int]) -> str:
    """Return "passed over in folders: 3 .heic, 1 .dng, 2 without suffix"; "" if nothing was."""
    if not passed_over:
        return ""
    words = {"": "without suffix", OTHERS: "of other kinds"}
    counts = sorted(passed_over.items(), key=lambda one: (one[0] in words, -one[1], one[0]))
    parts = [f"{count} {words.get(suffix) or printable(suffix)}" for suffix, count in counts]
    return f"passed over in folders: {listed(parts)}"
