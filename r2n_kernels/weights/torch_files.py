"""Files of torch.save, of all its formats, read without running code that they carry."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from ..text import printable
from .archive import check_archive
from .plain import stand_ins

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


def load_torch(path: Path) -> Any:
    """The contents of a file of torch.save, on the CPU; plain data beside the tensors is inert.

    Raises WeightsError, OSError for a file that cannot be read.
    """
    check_archive(path)
    try:
        with torch.serialization.safe_globals(stand_ins()), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as cause:
        text = str(cause)
        if wanted := _FORBIDDEN_GLOBAL.search(text):
            raise WeightsError(_refusal(path, wanted[1])) from cause
        reason = text.rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise WeightsError(_damaged(path, text, reason)) from cause
    except Exception as cause:  # a damaged archive makes torch.load fail in any way
        reason = re.split(r"\n|\. ", str(cause).strip())[0] or type(cause).__name__
        raise WeightsError(_damaged(path, str(cause), reason)) from cause


def _refusal(path: Path, wanted: str) -> str:
    try:
        with torch.serialization.safe_globals(stand_ins()):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except ValueError:  # it reads zip files only
        names = []
    names = [printable(name) for name in names or [wanted]]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return (
        f"{printable(path)}: refused: beside tensors and plain data it holds "
        f"{', '.join(names[:_MAX_NAMED])}{more}, and reading that would run code. {_ADVICE}"
    )


def _damaged(path: Path, text: str, reason: str) -> str:
    for said, why in _REASONS.items():
        if said in text:
            return f"{printable(path)}: refused: {why}"
    return f"{printable(path)}: damaged or not a torch checkpoint: {printable(reason)}"
