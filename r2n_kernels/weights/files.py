"""Checkpoint files and folders. Never runs code that a file carries."""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import WeightsError

SAFETENSORS = ".safetensors"
TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".pth.tar", ".tar", ".ckpt")
SUFFIXES = (SAFETENSORS, *TORCH_SUFFIXES)
PREFERRED = ("model.safetensors", "pytorch_model.bin")  # the Hub's file names, best first
CONFIG_NAME = "config.json"
_HASH_BLOCK = 1 << 20
_FORBIDDEN_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in torch's refusal: the class or function


def read_checkpoint(path: Path) -> Any:
    """Contents of one checkpoint file: a mapping, perhaps wrapped. CPU tensors.

    Raises WeightsError when the file is missing, empty, damaged, of an unknown format, or needs
    unsafe unpickling.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise WeightsError(f"{path}: expected a file named {', '.join(SUFFIXES)}")
    try:
        if path.stat().st_size == 0:
            raise WeightsError(f"{path}: the file is empty")
        return load_file(path) if name.endswith(SAFETENSORS) else _torch_load(path)
    except SafetensorError as cause:
        raise WeightsError(f"{path}: damaged or not a safetensors file: {cause}") from cause
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read: {cause.strerror or cause}") from cause


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_weights(folder: Path) -> Path:
    """The weights file of a folder: model.safetensors, pytorch_model.bin, or the only one.

    Raises WeightsError when there is none, or no telling which.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: expected a folder, found {_kind(folder)}")
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
    if len(found) == 1:
        return found[0]
    names = ", ".join(p.name for p in found) or "none"
    raise WeightsError(
        f"{folder}: expected {' or '.join(PREFERRED)}, or one file named {', '.join(SUFFIXES)}; "
        f"found {names}. Name the file itself"
    )


def parse_config(path: Path) -> dict[str, Any]:
    """A config.json as a dict. Raises WeightsError when it is not a JSON object."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise WeightsError(f"{path}: cannot be read: {cause.strerror or cause}") from cause
    except ValueError as cause:  # bad JSON, or not UTF-8
        raise WeightsError(f"{path}: not valid JSON: {cause}") from cause
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def _torch_load(path: Path) -> Any:
    try:
        # timm's training checkpoints keep their arguments as a Namespace, which is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as cause:
        if wanted := _FORBIDDEN_GLOBAL.search(str(cause)):
            raise WeightsError(
                f"{path}: refused: reading it would run code from the file ({wanted[1]}). If you "
                "trust it, convert it to safetensors once: load it with torch.load(..., "
                "weights_only=False) and write its state dict with safetensors.torch.save_file"
            ) from cause
        reason = str(cause).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise WeightsError(f"{path}: damaged or not a torch checkpoint: {reason}") from cause
    except Exception as cause:  # a damaged archive makes torch.load fail in any way
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise WeightsError(f"{path}: damaged or not a torch checkpoint: {reason}") from cause


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing there"
