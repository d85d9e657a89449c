"""Read weights, and config.json, from a Hub repository, a folder, a file, a module, a mapping."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import HubError, WeightsError
from ..names import FOLDER, HUB, split_source
from ..text import printable
from .files import (
    CONFIG_NAME,
    INDEX,
    PREFERRED,
    find_weights,
    parse_config,
    read_checkpoint,
    sha256_of,
)
from .hub import HubRepo, fetch
from .hub_errors import FileAbsent, HubUnreachable
from .module import unwrap_module
from .record import NOT_STATED, license_of
from .shards import read_shards, shards_of
from .wrappers import unwrap

Source = str | os.PathLike | nn.Module | Mapping[str, Any]
_log = logging.getLogger("r2n_kernels.weights")


@dataclass(frozen=True)
class Raw:
    """A checkpoint as found, and where."""

    state: dict[str, Tensor]
    where: str
    sha256: str | None = None
    license: str = NOT_STATED
    config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def read_config(source: Source, cache_dir: str | None = None) -> dict[str, Any] | None:
    """The parsed config.json of a Hub repository, or beside local weights; None if there is none.

    Beside a single file only a config that names an `architecture` counts: others are of something
    else. Raises HubError or WeightsError when it cannot be read, or is not a JSON object.
    """
    if isinstance(source, (nn.Module, Mapping)):
        return None
    text = os.fsdecode(source)
    if split_source(text)[0] == HUB:
        repo = HubRepo.parse(text, cache_dir)
        try:
            return _hub_config(repo)
        except FileAbsent:
            return None
    path = _local_path(text)
    beside = path / CONFIG_NAME if path.is_dir() else path.parent / CONFIG_NAME
    if not beside.is_file():
        return None
    if path.is_dir():
        return parse_config(beside)
    try:
        found = parse_config(beside)
    except WeightsError as cause:
        _log.info("%s is ignored: %s", printable(beside), cause)
        return None
    return found if isinstance(found.get("architecture"), str) else None


def read_source(source: Source, cache_dir: str | None = None) -> Raw:
    """The state dict of any source, as it is named there. Raises WeightsError, HubError."""
    if isinstance(source, nn.Module):
        module = unwrap_module(source)
        where = f"a live {type(module).__name__}"
        return Raw(unwrap(module.state_dict(), where), where)
    if isinstance(source, Mapping):
        where = "a state dict in memory"
        return Raw(unwrap(source, where), where)
    if not isinstance(source, (str, os.PathLike)):
        raise WeightsError(
            "expected weights as 'hf-hub:org/repo', a path, a module or a state dict, got "
            f"{type(source).__name__}"
        )
    text = os.fsdecode(source)
    if split_source(text)[0] == HUB:
        return _read_hub(HubRepo.parse(text, cache_dir))
    return _read_local(text)


def _read_local(text: str) -> Raw:
    path = _local_path(text)
    is_folder = path.is_dir() or split_source(text)[0] == FOLDER
    file = find_weights(path) if is_folder else path
    where = printable(file)
    if file.name.endswith(INDEX):
        paths = {name: file.parent / name for name in shards_of(file)}
        content, notes = read_shards(file, paths)
        sha256 = None
    else:
        content, notes = read_checkpoint(file)
        sha256 = sha256_of(file)
    config = read_config(text)
    return Raw(unwrap(content, where), where, sha256, license_of(config), config, tuple(notes))


def _local_path(text: str) -> Path:
    path = Path(split_source(text)[1]).expanduser()
    if not path.exists():
        hub = f"; on the Hub it would be 'hf-hub:{printable(text)}'" if text.count("/") == 1 else ""
        raise WeightsError(f"{printable(path)}: no such file or folder{hub}")
    return path


def _read_hub(repo: HubRepo) -> Raw:
    for name in PREFERRED:
        try:
            file = fetch(repo, name)
        except FileAbsent as cause:
            absent = cause
            continue
        break
    else:
        raise HubError(f"{repo}: expected {' or '.join(PREFERRED)}, found none") from absent
    where = f"{repo}/{file.path.name}"
    sharded = file.path.name.endswith(INDEX)
    try:
        if sharded:
            content, notes = read_shards(file.path, _fetch_shards(repo, file.path))
        else:
            content, notes = read_checkpoint(file.path)
        state = unwrap(content, where)
    except HubError:
        raise
    except WeightsError as cause:
        raise HubError(f"{repo}: {file.path.name} is unusable: {cause}") from cause
    try:
        config = _hub_config(repo)
    except (FileAbsent, HubUnreachable) as cause:
        # Not needed to load; timm's own cache often holds the weights alone.
        _log.info("%s: no config.json (%s)", repo, cause)
        config = None
    terms = license_of(config, repo.name)
    return Raw(state, where, None if sharded else file.sha256, terms, config, tuple(notes))


def _fetch_shards(repo: HubRepo, index: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    absent: list[FileAbsent] = []
    for name in shards_of(index):
        try:
            paths[name] = fetch(repo, name).path
        except FileAbsent as cause:
            absent.append(cause)
    if absent:
        raise HubError("; ".join(map(str, absent))) from absent[0]
    return paths


def _hub_config(repo: HubRepo) -> dict[str, Any]:
    file = fetch(repo, CONFIG_NAME)
    try:
        return parse_config(file.path)
    except WeightsError as cause:
        raise HubError(f"{repo}: {cause}") from cause
