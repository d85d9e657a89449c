"""A note in Triton's cache of the files that a run of `warm` left there.

A second run of the same looks at files alone: it starts no worker, plans and compiles nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from .. import fold, plan
from ..files import replace_text
from ..kernels.targets import Target
from .cache import toolchain
from .instances import Request


def triton_cache() -> Path:
    """Return the folder where Triton keeps what it compiles."""
    home = Path(os.environ.get("TRITON_HOME") or Path.home())
    return Path(os.environ.get("TRITON_CACHE_DIR") or home / ".triton" / "cache")


def note_path(requests: Sequence[Request], target: Target, *, stubs: bool) -> Path:
    """Return the note's place, named by all that decides which kernels there are."""
    digest = hashlib.sha256(toolchain().encode())
    for package in (plan, fold):
        for path in sorted(Path(package.__file__).parent.glob("*.py")):
            digest.update(path.read_bytes())
    digest.update(repr((requests, target, stubs)).encode())
    return triton_cache() / f"r2n-warm-{digest.hexdigest()[:40]}.json"


def still_there(note: Path) -> int:
    """Return how many kernels the note knows; 0 without a note, or where a file is missing."""
    try:
        kernels = json.loads(note.read_text(encoding="utf-8"))
        files = [Path(file) for files in kernels for file in files]
    except (OSError, ValueError, TypeError):  # no note, or a damaged one: compiling tells
        return 0
    return len(kernels) if all(map(Path.exists, files)) else 0


def write(note: Path, files: Sequence[Sequence[str]]) -> None:
    """Keep the files of each kernel."""
    note.parent.mkdir(parents=True, exist_ok=True)
    replace_text(note, json.dumps(files))
