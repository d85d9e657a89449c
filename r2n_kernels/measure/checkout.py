"""This file finds the source tree that this package runs from, its commit and its kernels."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from .. import kernels


def source_tree() -> Path | None:
    """Return the root of the source tree that this package is imported from.

    None where the package is installed as a copy. Links are followed.
    """
    folder = Path(kernels.__file__).resolve().parent
    root = Path(__file__).resolve().parents[2]
    return root if root / "kernels" == folder else None


def checkout() -> Path | None:
    """Return `source_tree()` if it is a git work tree of its own, not a folder inside another."""
    root = source_tree()
    return root if root is not None and (root / ".git").exists() else None


def commit() -> tuple[str | None, bool]:
    """Return the commit of `checkout()`, None without one, and whether files were changed."""
    root = checkout()
    if root is None:
        return None, False
    try:
        changed = git(root, "status", "--porcelain", "--untracked-files=no")
        return git(root, "rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None, False


def kernels_hash() -> str:
    """Hash the kernels' sources to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(Path(kernels.__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def git(folder: Path, *words: str) -> str:
    """Return what git prints there. Raises OSError without git, CalledProcessError if it fails."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
