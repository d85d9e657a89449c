"""Read weights, and config.json, from a Hub repository, a folder, a file, a module, a mapping."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..digest import hash_tensors
from ..errors import HubError, WeightsError
from ..fold.quantization import Quantization
from ..names import FOLDER, HUB, split_source
from ..text import printable
from .config_json import parse_config
from .config_values import CONFIG_NAME
from .files import INDEX, PREFERRED, find_weights, read_weights, sha256_of
from .hub import FileAbsent, HubRepo, HubUnreachable, fetch
from .module import unwrap_module
from .names import unwrap
from .quantization_file import QUANTIZATION_NAME, is_quantized, read_quantization

Source = str | os.PathLike | nn.Module | Mapping[str, Any]
NOT_STATED = "not stated"
# timm's configs say "unknown"; github.com/Res2Net/Res2Net-PretrainedModels says CC BY-NC-SA.
UNCLEAR = "unknown per timm; the authors' README says CC BY-NC-SA"
_SHORT_HASH = 12
_MAX_LICENSE = 200  # characters
_log = logging.getLogger("r2n_kernels.weights")


@dataclass(frozen=True, eq=False)
class Weights:
    """It is a state dict and its origin: as found by `read_source`, complete from `load_weights`.

    state: names -> tensors. Once complete: timm's names -> contiguous CPU tensors that share memory
      with nothing else: float32, and int64 for `num_batches_tracked` (zero where the checkpoint has
      none). Loads strictly into `reference.Res2Net(config)`.
    source: where from, for people.
    file_sha256: of the file, where there is one, not shards.
    license: terms of the weights, as far as their source states them.
    config: the parsed config.json beside the weights, if there is one.
    notes: what was done to the weights beyond renaming, one sentence each.
    quantization: of the weights, if config.json says that there is one.
    """

    state: dict[str, Tensor]
    source: str
    file_sha256: str | None = None
    license: str = NOT_STATED
    config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    quantization: Quantization | None = None

    @cached_property
    def sha256(self) -> str:
        """Return the file's hash, or else the tensors' (`hash_tensors`), hashed once asked for."""
        return self.file_sha256 or hash_tensors(self.state)

    def __str__(self) -> str:
        """Say in one line where from, short hash, licence, notes; control characters escaped."""
        digest = self.sha256[:_SHORT_HASH]
        line = f"weights from {self.source}, sha256 {digest}, licence {self.license}"
        return printable("; ".join([line, *self.notes]))


def read_config(source: Source, cache_dir: str | None = None) -> dict[str, Any] | None:
    """Parse the config.json of a Hub repository, or beside local weights; None if there is none.

    Beside a single file only a config that names an `architecture` counts: others are of something
    else. Raises HubError or WeightsError when it cannot be read, or is not a JSON object.
    """
    if isinstance(source, (nn.Module, Mapping)):
        return None
    text = os.fsdecode(source)
    if split_source(text)[0] == HUB:
        try:
            return _hub_config(HubRepo.parse(text, cache_dir))
        except FileAbsent:
            return None
    path = _local_path(text)
    beside = (path if path.is_dir() else path.parent) / CONFIG_NAME
    if not beside.is_file():
        return None
    try:
        found = parse_config(beside)
    except WeightsError as cause:
        if path.is_dir():
            raise
        _log.info("%s is ignored: %s", printable(beside), cause)
        return None
    return found if path.is_dir() or isinstance(found.get("architecture"), str) else None


def read_source(source: Source, cache_dir: str | None = None) -> Weights:
    """Read the state dict of any source, as it is named there. Raises WeightsError, HubError."""
    if isinstance(source, nn.Module):
        module = unwrap_module(source)
        where = f"a live {type(module).__name__}"
        return Weights(unwrap(module.state_dict(), where), where)
    if isinstance(source, Mapping):
        where = "a state dict in memory"
        return Weights(unwrap(source, where), where)
    if not isinstance(source, (str, os.PathLike)):
        raise WeightsError(
            "expected weights as 'hf-hub:org/repo', a path, a module or a state dict, got "
            f"{type(source).__name__}"
        )
    text = os.fsdecode(source)
    if split_source(text)[0] == HUB:
        return _read_hub(HubRepo.parse(text, cache_dir))
    return _read_local(text)


def _read_local(text: str) -> Weights:
    path = _local_path(text)
    is_folder = path.is_dir() or split_source(text)[0] == FOLDER
    file = find_weights(path) if is_folder else path
    content, notes = read_weights(file, lambda names: {name: file.parent / name for name in names})
    where, sha256 = printable(file), None if file.name.endswith(INDEX) else sha256_of(file)
    config = read_config(text)
    found = read_quantization(file.with_name(QUANTIZATION_NAME)) if is_quantized(config) else None
    state = unwrap(content, where)
    return Weights(state, where, sha256, license_of(config), config, tuple(notes), found)


def _local_path(text: str) -> Path:
    path = Path(split_source(text)[1]).expanduser()
    if not path.exists():
        hub = f"; on the Hub it would be 'hf-hub:{printable(text)}'" if text.count("/") == 1 else ""
        raise WeightsError(f"{printable(path)}: no such file or folder{hub}")
    return path


def _read_hub(repo: HubRepo) -> Weights:
    for name in PREFERRED:
        try:
            path, sha256 = fetch(repo, name)
            break
        except FileAbsent as cause:
            absent = cause
    else:
        raise HubError(f"{repo}: expected {' or '.join(PREFERRED)}, found none") from absent
    where = f"{repo}/{name}"
    try:
        content, notes = read_weights(path, lambda names: _fetch_all(repo, names))
        state = unwrap(content, where)
    except HubError:
        raise
    except WeightsError as cause:
        raise HubError(f"{repo}: {name} is unusable: {cause}") from cause
    try:
        config = _hub_config(repo)
    except (FileAbsent, HubUnreachable) as cause:
        # Not needed to load; timm's own cache often holds the weights alone.
        _log.info("%s: no config.json (%s)", repo, cause)
        config = None
    whole = None if name.endswith(INDEX) else sha256
    terms, found = license_of(config, repo.name), _hub_quantization(repo, config)
    return Weights(state, where, whole, terms, config, tuple(notes), found)


def _fetch_all(repo: HubRepo, names: Iterable[str]) -> dict[str, Path]:
    """Fetch files of a repository. Raises one HubError naming every absent one."""
    paths: dict[str, Path] = {}
    absent: list[FileAbsent] = []
    for name in names:
        try:
            paths[name] = fetch(repo, name)[0]
        except FileAbsent as cause:
            absent.append(cause)
    if absent:
        raise HubError("; ".join(map(str, absent))) from absent[0]
    return paths


def _hub_config(repo: HubRepo) -> dict[str, Any]:
    path, _ = fetch(repo, CONFIG_NAME)
    try:
        return parse_config(path)
    except WeightsError as cause:
        raise HubError(f"{repo}: {cause}") from cause


def _hub_quantization(repo: HubRepo, config: dict[str, Any] | None) -> Quantization | None:
    try:
        return (
            read_quantization(fetch(repo, QUANTIZATION_NAME)[0]) if is_quantized(config) else None
        )
    except HubError:
        raise
    except WeightsError as cause:
        raise HubError(f"{repo}: {cause}") from cause


def license_of(config: Mapping[str, Any] | None, repo: str | None = None) -> str:
    """Return the terms that config.json states; upstream's unclear ones are spelled out."""
    pretrained = (config or {}).get("pretrained_cfg")
    stated = (pretrained if isinstance(pretrained, Mapping) else config or {}).get("license")
    if stated and str(stated).lower() != "unknown":
        return printable(str(stated))[:_MAX_LICENSE]
    if stated or (repo or "").startswith(("timm/res2net", "timm/res2next")):
        return UNCLEAR
    return NOT_STATED
