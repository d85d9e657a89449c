"""This file finds the source tree that this package runs from, its commit and its kernels."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from .. import kernels

PARTS = ("kernels", "reference", "benchmarks")  # of this package, which lie beside it


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


def branch() -> str | None:
    """Return the branch of `checkout()`, by CI's word where it checked out a commit alone."""
    root = checkout()
    if root is None:
        return None
    said = ("GITHUB_HEAD_REF", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "GITHUB_REF_NAME",
            "CI_COMMIT_REF_NAME")  # fmt: skip
    for name in said:
        if os.environ.get(name):
            return os.environ[name]
    try:
        return git(root, "symbolic-ref", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):  # no branch: a commit alone
        return None


def pull_request() -> int | None:
    """Return the number of the pull, or merge, request that CI says `checkout()` is of."""
    if checkout() is None:
        return None
    github = re.fullmatch(r"refs/pull/(\d{1,18})/\w+", os.environ.get("GITHUB_REF", ""))
    gitlab = re.fullmatch(r"(\d{1,18})", os.environ.get("CI_MERGE_REQUEST_IID", ""))
    found = github or gitlab
    return int(found[1]) if found else None


def kernels_hash() -> str:
    """Hash the kernels' sources to 16 hexadecimal digits."""
    return _hash(Path(kernels.__file__).parent)


def code_hash() -> str:
    """Hash all sources of this package, wherever they lie, to 16 hexadecimal digits."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / name for name in PARTS)  # maybe links
    return _hash(package, *(folder.resolve() for folder in folders if folder.is_symlink()))


def _hash(*folders: Path) -> str:
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def git(folder: Path, *words: str) -> str:
    """Return what git prints there. Raises OSError without git, CalledProcessError if it fails."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
