"""Weights in several files, with an index of which tensor is where (`*.index.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..text import counted, printable
from .files import SUFFIXES, parse_config, read_checkpoint

_MAX_NAMED = 8


def shards_of(index: Path) -> dict[str, list[str]]:
    """File name -> names of its tensors, as an index states.

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


def read_shards(index: Path, paths: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    """The tensors of all shards of an index, which lie at `paths`, and notes.

    Raises one WeightsError naming every missing shard; or every one that cannot be read; or every
    tensor that its shard lacks, and every one that the index does not know there.
    """
    shards = shards_of(index)
    if missing := [printable(name) for name in shards if not paths[name].is_file()]:
        raise WeightsError(
            f"{printable(index)}: {len(missing)} of {counted(len(shards), 'shard')} missing: "
            f"{_join(missing)}"
        )
    contents, notes = _read_all(index, {name: paths[name] for name in shards})
    state: dict[str, Any] = {}
    faults: list[str] = []
    for name, expected in shards.items():
        found = contents[name]
        faults += [f"{tensor} is not in {name}" for tensor in expected if tensor not in found]
        unknown = found.keys() - set(expected)
        faults += [
            f"{tensor} of {name} is not in the index" for tensor in sorted(map(str, unknown))
        ]
        state |= {tensor: found[tensor] for tensor in expected if tensor in found}
    if faults:
        named = _join([printable(fault) for fault in faults])
        raise WeightsError(f"{printable(index)}: the shards are not those of the index: {named}")
    return state, [f"from {counted(len(shards), 'shard')}", *notes]


def _read_all(
    index: Path, paths: Mapping[str, Path]
) -> tuple[dict[str, Mapping[Any, Any]], list[str]]:
    contents: dict[str, Mapping[Any, Any]] = {}
    notes: list[str] = []
    faults: list[str] = []
    for name, path in paths.items():
        try:
            contents[name], more = read_checkpoint(path)
        except WeightsError as cause:
            faults.append(str(cause))
            continue
        notes += more
        if not isinstance(contents[name], Mapping):
            kind = type(contents[name]).__name__
            faults.append(f"{printable(path)}: expected named tensors, found {kind}")
    if faults:
        raise WeightsError(
            f"{printable(index)}: {len(faults)} of {counted(len(paths), 'shard')} cannot be read: "
            f"{_join(faults)}"
        )
    return contents, notes


def _join(named: list[str]) -> str:
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return f"{', '.join(named[:_MAX_NAMED])}{more}"
