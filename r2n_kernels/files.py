"""Text files that appear whole under their name, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_text(path: str | os.PathLike, text: str) -> None:
    """Replace the file at once: a reader sees the old one or the new one. Raises OSError."""
    target = Path(os.path.realpath(path))  # through a symbolic link: it is not the link's to go
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
