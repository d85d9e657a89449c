"""Checkpoint files and folders. Never runs code that a file carries."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import WeightsError
from ..text import printable
from .config_values import MAX_DEPTH, is_deep
from .kinds import SAFETENSORS_KIND, TORCH_KIND, kind_of
from .torch_files import load_torch

SAFETENSORS = ".safetensors"
TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".pth.tar", ".tar", ".ckpt")
SUFFIXES = (SAFETENSORS, *TORCH_SUFFIXES)
INDEX = ".index.json"  # of weights in several files, see `shards`
# The Hub's file names, best first.
PREFERRED = ("model.safetensors", f"model.safetensors{INDEX}",
             "pytorch_model.bin", f"pytorch_model.bin{INDEX}")  # fmt: skip
CONFIG_NAME = "config.json"
_HASH_BLOCK = 1 << 20
_MAX_CONFIG = 1 << 24  # bytes


def read_checkpoint(path: Path) -> tuple[Any, list[str]]:
    """Contents of one checkpoint file, a mapping, perhaps wrapped, and notes. CPU tensors.

    Safetensors are known by their contents, whatever the name, and so are torch's zip files. The
    notes tell of a file that is not what its name says.

    Raises WeightsError when the file is missing, empty, damaged, of an unknown format, would take
    far more memory than its size, or needs unsafe unpickling.
    """
    shown, name = printable(path), path.name.lower()
    try:
        kind = kind_of(path)
        if kind is None and not name.endswith(SUFFIXES):
            raise WeightsError(f"{shown}: expected a file named {', '.join(SUFFIXES)}")
        named = SAFETENSORS_KIND if name.endswith(SAFETENSORS) else TORCH_KIND
        kind = kind or named
        read = load_file if kind == SAFETENSORS_KIND else load_torch
        notes = [] if kind == named else [f"{printable(path.name)} holds {kind}"]
        return read(path), notes
    except SafetensorError as cause:
        reason = printable(str(cause))
        raise WeightsError(f"{shown}: damaged or not a safetensors file: {reason}") from cause
    except OSError as cause:
        raise WeightsError(f"{shown}: cannot be read: {cause.strerror or cause}") from cause


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_weights(folder: Path) -> Path:
    """The weights file of a folder: one of PREFERRED, the only index of shards, or the only one.

    Raises WeightsError when there is none, or no telling which.
    """
    if not folder.is_dir():
        raise WeightsError(f"{printable(folder)}: expected a folder, found {_kind(folder)}")
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    found = [path for path in files if path.name.lower().endswith(SUFFIXES)]
    for choice in ([path for path in files if path.name.endswith(INDEX)], found):
        if len(choice) == 1:
            return choice[0]
    names = ", ".join(printable(path.name) for path in found) or "none"
    raise WeightsError(
        f"{printable(folder)}: expected {' or '.join(PREFERRED)}, or one file named "
        f"{', '.join(SUFFIXES)}; found {names}. Name the file itself"
    )


def parse_config(path: Path) -> dict[str, Any]:
    """A config.json as a dict. Raises WeightsError when it is not a JSON object."""
    shown = printable(path)
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise WeightsError(f"{shown}: larger than {_MAX_CONFIG} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise WeightsError(f"{shown}: cannot be read: {cause.strerror or cause}") from cause
    except WeightsError:
        raise
    except (ValueError, RecursionError) as cause:  # bad JSON, not UTF-8, nested without end
        raise WeightsError(f"{shown}: not valid JSON: {cause}") from cause
    if not isinstance(config, dict):
        raise WeightsError(f"{shown}: expected a JSON object, found {type(config).__name__}")
    if is_deep(config):
        raise WeightsError(f"{shown}: values nest more than {MAX_DEPTH} deep")
    return config


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"
