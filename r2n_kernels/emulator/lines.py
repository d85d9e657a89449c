"""This file says which lines of Python PTX came from, and shows them where files are at hand."""

from __future__ import annotations

import linecache
import re

FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"(?:\s+"([^"]*)")?', re.M)


def source_files(ptx: str) -> dict[str, str]:
    """Return the names of source files by their numbers in the module."""
    return {number: _last_part(name or folder) for number, folder, name in FILE.findall(ptx)}


def source_of(statement: str, files: dict[str, str]) -> str | None:
    """Read ".loc 2 85 14, function_name X, inlined_at 1 36 11"; None for line 0, the compiler's."""
    words = statement.replace(",", " ").split()
    if words[2] == "0":
        return None
    place = f"{files.get(words[1], words[1])}:{words[2]}"
    if "inlined_at" in words:
        at = words.index("inlined_at")
        place += f" from {files.get(words[at + 1], words[at + 1])}:{words[at + 2]}"
    return place


def source_paths(ptx: str) -> dict[str, str]:
    """Return the paths of a module's source files by their last parts."""
    return {
        _last_part(name or folder): f"{folder}/{name}" if name else folder
        for _, folder, name in FILE.findall(ptx)
    }


def python_line(ptx: str, source: str) -> str:
    """Return the text of "stage.py:47", or of the caller in "device.py:85 from stage.py:47"."""
    name, _, line = source.split(" from ")[-1].rpartition(":")
    path = source_paths(ptx).get(name)
    return linecache.getline(path, int(line)).strip() if path else ""


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]
