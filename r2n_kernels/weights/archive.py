"""What a torch file claims to hold, checked against its size before anything is read."""

from __future__ import annotations

import mmap
import zipfile
import zlib
from pathlib import Path

from ..errors import WeightsError
from ..text import printable

_SLACK = 1 << 20  # small archives may be compressed well
_FACTOR = 2  # torch.save compresses nothing, and weights compress little
# torch builds one for a file, of any length that the file states.
_HUNGRY = b"bytearray\n"
# What zipfile raises for damaged files beside its own error.
_DAMAGED = (EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError)


def check_archive(path: Path) -> None:
    """Refuse a file that would take far more memory than its size.

    Raises WeightsError when the entries of a zip unpack to more than twice the file (they are
    compressed, or share their bytes), when its directory cannot be read, or when the pickle asks
    for a bytearray. That each storage has the length of its entry, torch checks itself (seen in
    2.14); a legacy file's storages are allocated as claimed, and refused before they are filled.
    """
    size = path.stat().st_size
    if not is_zip(path):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            claimed, hungry = size, data.find(_HUNGRY) >= 0
    else:
        try:
            claimed, hungry = _survey(path, _FACTOR * size + _SLACK)
        except (zipfile.BadZipFile, zlib.error, *_DAMAGED) as cause:
            reason = printable(str(cause)) or type(cause).__name__
            raise WeightsError(
                f"{printable(path)}: damaged or not a torch checkpoint: {reason}"
            ) from cause
    if claimed > _FACTOR * size + _SLACK:
        raise WeightsError(
            f"{printable(path)}: refused: a file of {size} bytes that unpacks to {claimed}"
        )
    if hungry:
        raise WeightsError(
            f"{printable(path)}: refused: it holds a bytearray, which may claim any amount of "
            "memory; save the state dict alone"
        )


def _survey(path: Path, limit: int) -> tuple[int, bool]:
    """Bytes that a zip unpacks to; whether its pickle, within the limit, asks for a bytearray."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        claimed = sum(entry.file_size for entry in entries)
        pickles = [e for e in entries if claimed <= limit and e.filename.endswith("data.pkl")]
        return claimed, any(_HUNGRY in archive.read(entry) for entry in pickles)


def is_zip(path: Path) -> bool:
    """By its first bytes, as torch tells."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
