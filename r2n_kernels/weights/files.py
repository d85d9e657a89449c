"""This file reads checkpoint files, shards and folders. It never runs code that they carry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import WeightsError
from ..text import counted, listed, printable
from .config_json import parse_config
from .torch_files import ZIP, load_torch

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pth", ".pt", ".bin", ".pth.tar", ".tar", ".ckpt")
INDEX = ".index.json"  # of weights in several files: which tensor is where
# The Hub's file names, best first.
PREFERRED = ("model.safetensors", f"model.safetensors{INDEX}",
             "pytorch_model.bin", f"pytorch_model.bin{INDEX}")  # fmt: skip
Locate = Callable[[Iterable[str]], Mapping[str, Path]]  # shards by name -> where they should be
_SAFETENSORS_KIND, _TORCH_KIND = "safetensors", "a torch checkpoint"
_HASH_BLOCK = 1 << 20
_HEAD = 512
_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE = re.compile(rb"^size (\d{1,20})$", re.MULTILINE)
_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)


def read_weights(path: Path, locate: Locate) -> tuple[Any, list[str]]:
    """Read a checkpoint, or an index and the shards that `locate` finds: contents, and notes.

    Raises WeightsError, as `read_checkpoint` and `read_shards` do, and whatever `locate` raises.
    """
    return read_shards(path, locate) if path.name.endswith(INDEX) else read_checkpoint(path)


def read_checkpoint(path: Path) -> tuple[Any, list[str]]:
    """Return one file's contents, a mapping of CPU tensors, perhaps wrapped, and notes.

    Safetensors are known by their contents, whatever the name, and so are torch's zip files. The
    notes tell of a file that is not what its name says.

    Raises WeightsError when the file is missing, empty, damaged, of an unknown format, would take
    far more memory than its size, or needs unsafe unpickling.
    """
    shown, name = printable(path), path.name.lower()
    try:
        kind = _kind_of(path)
        if kind is None and not name.endswith(SUFFIXES):
            raise WeightsError(f"{shown}: expected a file named {', '.join(SUFFIXES)}")
        named = _SAFETENSORS_KIND if name.endswith(SAFETENSORS) else _TORCH_KIND
        kind = kind or named
        content = (load_file if kind == _SAFETENSORS_KIND else load_torch)(path)
    except SafetensorError as cause:
        reason = printable(str(cause))
        raise WeightsError(f"{shown}: damaged or not a safetensors file: {reason}") from cause
    except OSError as cause:
        raise WeightsError(f"{shown}: cannot be read: {cause.strerror or cause}") from cause
    return content, [] if kind == named else [f"{printable(path.name)} holds {kind}"]


def _kind_of(path: Path) -> str | None:
    """Tell by its first bytes what a file holds; None where the name must say it.

    Names lie, and what is fetched may be a stand-in: raises WeightsError for an empty file, a
    git-lfs pointer and a web page, OSError for a file that cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
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
    if head.startswith(ZIP):
        return _TORCH_KIND
    header = int.from_bytes(head[:8], "little")  # its length, then JSON
    return _SAFETENSORS_KIND if head[8:9] == b"{" and header <= path.stat().st_size - 8 else None


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_weights(folder: Path) -> Path:
    """Return the weights file of a folder: a PREFERRED one, the only index, or the only one.

    Raises WeightsError when there is none, or no telling which.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise WeightsError(f"{printable(folder)}: expected a folder, found {found}")
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    weights = [path for path in files if path.name.lower().endswith(SUFFIXES)]
    for choice in ([path for path in files if path.name.endswith(INDEX)], weights):
        if len(choice) == 1:
            return choice[0]
    names = ", ".join(printable(path.name) for path in weights) or "none"
    raise WeightsError(
        f"{printable(folder)}: expected {' or '.join(PREFERRED)}, or one file named "
        f"{', '.join(SUFFIXES)}; found {names}. Name the file itself"
    )


def shards_of(index: Path) -> dict[str, list[str]]:
    """Return file name -> names of its tensors, as an index states.

    Raises WeightsError when it has no such table, or names files outside its own folder.
    """
    shown = printable(index)
    table = parse_config(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise WeightsError(f"{shown}: expected an object 'weight_map', tensor to file name")
    shards: dict[str, list[str]] = {}
    for tensor, file in table.items():
        # Both kinds of separators: the index may come from another system.
        if not isinstance(file, str) or not file.endswith(SUFFIXES) or set(file) & set("/\\:\0"):
            raise WeightsError(
                f"{shown}: expected a file beside it, named {', '.join(SUFFIXES)}, for "
                f"{printable(tensor)}, got {printable(repr(file))[:80]}"
            )
        shards.setdefault(file, []).append(tensor)
    return shards


def read_shards(index: Path, locate: Locate) -> tuple[dict[str, Any], list[str]]:
    """Return the tensors of all shards of an index, and notes.

    Raises one WeightsError naming every missing shard; or every one that cannot be read; or every
    tensor that its shard lacks, and every one that the index does not know there.
    """
    shown, shards = printable(index), shards_of(index)
    paths, of_all = locate(shards), counted(len(shards), "shard")
    if missing := [printable(name) for name in shards if not paths[name].is_file()]:
        raise WeightsError(f"{shown}: {len(missing)} of {of_all} missing: {listed(missing)}")
    state: dict[str, Any] = {}
    notes = [f"from {of_all}"]
    unread: list[str] = []
    faults: list[str] = []
    for name, expected in shards.items():
        try:
            found, more = read_checkpoint(paths[name])
        except WeightsError as cause:
            unread.append(str(cause))
            continue
        notes += more
        if not isinstance(found, Mapping):
            kind = type(found).__name__
            unread.append(f"{printable(paths[name])}: expected named tensors, found {kind}")
            continue
        faults += [f"{tensor} is not in {name}" for tensor in expected if tensor not in found]
        unknown = sorted(map(str, found.keys() - set(expected)))
        faults += [f"{tensor} of {name} is not in the index" for tensor in unknown]
        state |= {tensor: found[tensor] for tensor in expected if tensor in found}
    if unread:
        raise WeightsError(f"{shown}: {len(unread)} of {of_all} cannot be read: {listed(unread)}")
    if faults:
        named = listed([printable(fault) for fault in faults])
        raise WeightsError(f"{shown}: the shards are not those of the index: {named}")
    return state, notes
