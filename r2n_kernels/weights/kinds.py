"""What a weights file is, by its first bytes: names lie, and what is fetched may be a stand-in."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import WeightsError
from ..text import printable
from .archive import is_zip

SAFETENSORS_KIND = "safetensors"
TORCH_KIND = "a torch checkpoint"
_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE = re.compile(rb"^size (\d{1,20})$", re.MULTILINE)
_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)
_HEAD = 512


def kind_of(path: Path) -> str | None:
    """SAFETENSORS_KIND or TORCH_KIND where the contents say so; None where the name must.

    Raises WeightsError for an empty file, a git-lfs pointer and a web page, OSError for a file that
    cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size = path.stat().st_size
    if not head:
        raise WeightsError(f"{printable(path)}: the file is empty")
    if head.startswith(_LFS):
        stated = _LFS_SIZE.search(head)
        where = f" of {int(stated[1])} bytes" if stated else ""
        raise WeightsError(
            f"{printable(path)}: a git-lfs pointer, not the file itself{where}: fetch it with "
            "'git lfs pull'"
        )
    if _PAGE.match(head):
        raise WeightsError(
            f"{printable(path)}: a web page, not weights: the download went to a page about them, "
            "or to a log-in"
        )
    if is_zip(path):
        return TORCH_KIND
    header = int.from_bytes(head[:8], "little")  # its length, then JSON
    return SAFETENSORS_KIND if head[8:9] == b"{" and header <= size - 8 else None
