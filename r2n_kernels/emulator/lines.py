"""Lines of Python that PTX came from, where their files are at hand."""

from __future__ import annotations

import linecache
import re

FILE = re.compile(r'^\s*\.file\s+\d+\s+"([^"]*)"(?:\s+"([^"]*)")?', re.M)


def source_paths(ptx: str) -> dict[str, str]:
    """Return the paths of a module's source files by their last parts."""
    return {
        (name or folder).rsplit("/", 1)[-1]: f"{folder}/{name}" if name else folder
        for folder, name in FILE.findall(ptx)
    }


def python_line(ptx: str, source: str) -> str:
    """Return the text of "stage.py:47", or of the caller in "device.py:85 from stage.py:47"."""
    name, _, line = source.split(" from ")[-1].rpartition(":")
    path = source_paths(ptx).get(name)
    return linecache.getline(path, int(line)).strip() if path else ""
