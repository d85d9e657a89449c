"""Files of torch.save, of all its formats, are read without running code that they carry."""

from __future__ import annotations

import mmap
import pickle
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from ..text import listed, printable

ZIP = b"PK\x03\x04"  # torch, too, tells by these first bytes
_MAX_NAMED = 5
_FORBIDDEN_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in torch's refusal: the class or function
_ADVICE = (
    "If you trust it, convert it to safetensors once: load it with torch.load(..., "
    "weights_only=False) and write its state dict with safetensors.torch.save_file"
)
# What torch's refusal says -> the reason in a sentence.
_REASONS = {
    "TorchScript archives": "a TorchScript archive, which is a program: save the state dict of "
    "torch.jit.load(...)",
    "Unsupported operand 149": "pickled by protocol 4 or later, and torch reads 2 without running "
    "code: save it with torch.save and its own pickle_protocol",
}
_SLACK = 1 << 20  # small archives may be compressed well
_FACTOR = 2  # torch.save compresses nothing, and weights compress little
# torch builds one for a file, of any length that the file states.
_HUNGRY = b"bytearray\n"
# What zipfile raises for damaged files.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError,
            RuntimeError, ValueError)  # fmt: skip


def load_torch(path: Path) -> Any:
    """Load the contents of a file of torch.save on the CPU; plain data beside tensors is inert.

    Raises WeightsError, OSError for a file that cannot be read.
    """
    check_archive(path)
    try:
        with torch.serialization.safe_globals(_stand_ins()), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as cause:
        text = str(cause)
        if wanted := _FORBIDDEN_GLOBAL.search(text):
            raise WeightsError(_refusal(path, wanted[1])) from cause
        reason = text.rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise WeightsError(_damaged(path, reason, text)) from cause
    except Exception as cause:  # a damaged archive makes torch.load fail in any way
        reason = re.split(r"\n|\. ", str(cause).strip())[0] or type(cause).__name__
        raise WeightsError(_damaged(path, reason, str(cause))) from cause


def _refusal(path: Path, wanted: str) -> str:
    try:
        with torch.serialization.safe_globals(_stand_ins()):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except ValueError:  # it reads zip files only
        names = []
    held = listed([printable(name) for name in names or [wanted]], _MAX_NAMED)
    return (
        f"{printable(path)}: refused: beside tensors and plain data it holds {held}, and reading "
        f"that would run code. {_ADVICE}"
    )


def _damaged(path: Path, reason: str, text: str = "") -> str:
    for said, why in _REASONS.items():
        if said in text:
            return f"{printable(path)}: refused: {why}"
    return f"{printable(path)}: damaged or not a torch checkpoint: {printable(reason)}"


def check_archive(path: Path) -> None:
    """Refuse a file that would take far more memory than its size.

    Raises WeightsError when the entries of a zip unpack to more than twice the file (they are
    compressed, or share their bytes), when its directory cannot be read, or when the pickle asks
    for a bytearray. That each storage has the length of its entry, torch checks itself (seen in
    2.14); a legacy file's storages are allocated as claimed, and refused before they are filled.
    """
    size = path.stat().st_size
    limit = _FACTOR * size + _SLACK
    with path.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:
            claimed, hungry = _survey(path, limit)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                claimed, hungry = size, data.find(_HUNGRY) >= 0
    if claimed > limit:
        raise WeightsError(
            f"{printable(path)}: refused: a file of {size} bytes that unpacks to {claimed}"
        )
    if hungry:
        raise WeightsError(
            f"{printable(path)}: refused: it holds a bytearray, which may claim any amount of "
            "memory; save the state dict alone"
        )


def _survey(path: Path, limit: int) -> tuple[int, bool]:
    """Return how many bytes a zip unpacks to; whether its pickle, if read, asks for a bytearray."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            claimed = sum(entry.file_size for entry in entries)
            pickles = [e for e in entries if claimed <= limit and e.filename.endswith("data.pkl")]
            return claimed, any(_HUNGRY in archive.read(entry) for entry in pickles)
    except _DAMAGED as cause:
        raise WeightsError(_damaged(path, str(cause) or type(cause).__name__)) from cause


# Plain data beside the weights is read past, never built. torch's restricted unpickler refuses
# every global that it does not know, be it a numpy number. Each of these is answered by a stand-in
# of the same name, which takes any arguments and does nothing with them: what a file says about a
# date reaches neither `datetime` nor any other code.
_PATHS = ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
_PLAIN = {
    **{f"{home}.multiarray": ("scalar", "_reconstruct") for home in ("numpy.core", "numpy._core")},
    **{f"{home}.numeric": ("_frombuffer",) for home in ("numpy.core", "numpy._core")},
    "numpy": ("dtype", "ndarray", "bool_", "float16", "float32", "float64", "int32", "int64",
              "str_"),
    "argparse": ("Namespace",),
    "builtins": ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "range", "slice",
                 "str", "tuple"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
    "torch.torch_version": ("TorchVersion",),
    "types": ("SimpleNamespace",),
    "uuid": ("UUID",),
}  # fmt: skip


class _Inert:
    """Whatever the file says, this is an object without contents."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __hash__(self) -> int:  # keys of mappings, members of sets
        return id(self)


class _Dict:
    """A defaultdict becomes a dict: a state dict may be in it."""

    def __new__(cls, *_arguments: Any) -> dict:  # type: ignore[misc]
        return {}


class _List:
    def __new__(cls, *_arguments: Any) -> list:  # type: ignore[misc]
        return []


def _stand_ins() -> list[Any]:
    """Make one class per global for torch.serialization.safe_globals, which goes by the name."""
    found: dict[tuple[str, str], type] = {
        ("collections", "defaultdict"): _Dict, ("collections", "deque"): _List,
        **{(module, name): _Inert for module, names in _PLAIN.items() for name in names},
    }  # fmt: skip
    return [type(name, (base,), {"__module__": module}) for (module, name), base in found.items()]
