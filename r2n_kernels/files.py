"""Files appear whole under their name, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_text(path: str | os.PathLike, text: str) -> None:
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Replace the file at once: a reader sees the old one or the new one. Raises OSError."""
    target = Path(os.path.realpath(path))  # of a symbolic link the target is replaced
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
