"""The source tree that this package runs from, and whether it is a work tree of git."""

from __future__ import annotations

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
