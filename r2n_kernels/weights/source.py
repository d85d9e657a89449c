"""The front door: weights from a Hub repository, a folder, a file, a module or a mapping."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import Res2NetConfig
from ..errors import HubError, WeightsError
from ..text import printable
from . import adapt
from .check import validate
from .files import (
    CONFIG_NAME,
    PREFERRED,
    find_weights,
    parse_config,
    read_checkpoint,
    sha256_of,
)
from .hub import SCHEMES, HubRepo, fetch
from .hub_errors import FileAbsent, HubUnreachable
from .module import unwrap_module
from .names import canonical_names
from .record import NOT_STATED, Weights, hash_tensors, license_of
from .wrappers import unwrap

LOCAL_DIR = "local-dir:"
Source = str | os.PathLike | nn.Module | Mapping[str, Any]
_log = logging.getLogger("r2n_kernels.weights")


@dataclass(frozen=True)
class _Raw:
    """A checkpoint as found, and where."""

    state: dict[str, Tensor]
    where: str
    sha256: str | None = None
    license: str = NOT_STATED
    config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def load_weights(
    source: Source,
    config: Res2NetConfig,
    *,
    adapt_classifier: bool = False,
    adapt_in_chans: bool = False,
) -> Weights:
    """Weights of any `source`, complete and checked against `config`.

    source: `hf-hub:org/repo[@revision]`; a folder, or `local-dir:folder`; a checkpoint file
      (.safetensors, .pth, .pt, .bin, .pth.tar, .tar, .ckpt; safetensors under any name); a live
      module, timm's or the
      reference; or a state dict, perhaps wrapped. Tensors are copied.
    adapt_classifier: replace a classifier of another size by an untrained one (none at
      num_classes=0); see `adapt.adapt_classifier`.
    adapt_in_chans: fold or tile the first convolution; see `adapt.adapt_in_chans`.

    Logs one line of origin, hash and licence: at INFO, and at DEBUG for a module or state dict,
    whose caller knows it. Raises WeightsError naming every key that
    does not fit, or HubError; nothing is half-loaded.
    """
    raw = _read(source)
    state, more = canonical_names(raw.state, raw.where)
    notes = [*raw.notes, *more]
    if adapt_classifier:
        state, more = adapt.adapt_classifier(state, config)
        notes += more
    if adapt_in_chans:
        state, more = adapt.adapt_in_chans(state, config)
        notes += more
    state = validate(state, config, raw.where)
    weights = Weights(
        state=state,
        source=raw.where,
        sha256=raw.sha256 or hash_tensors(state),
        license=raw.license,
        config=raw.config,
        notes=tuple(notes),
    )
    in_memory = isinstance(source, (nn.Module, Mapping))
    _log.log(logging.DEBUG if in_memory else logging.INFO, "%s", weights.describe())
    return weights


def read_config(source: Source) -> dict[str, Any] | None:
    """The parsed config.json of a Hub repository, or beside local weights; None if there is none.

    Beside a single file only a config that names an `architecture` counts: others are of something
    else. Raises HubError or WeightsError when it cannot be read, or is not a JSON object.
    """
    if isinstance(source, (nn.Module, Mapping)):
        return None
    text = os.fsdecode(source)
    if text.startswith(SCHEMES):
        repo = HubRepo.parse(text)
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
        _log.info("%s is ignored: %s", beside, cause)
        return None
    return found if isinstance(found.get("architecture"), str) else None


def _read(source: Source) -> _Raw:
    if isinstance(source, nn.Module):
        module = unwrap_module(source)
        where = f"a live {type(module).__name__}"
        return _Raw(unwrap(module.state_dict(), where), where)
    if isinstance(source, Mapping):
        where = "a state dict in memory"
        return _Raw(unwrap(source, where), where)
    if not isinstance(source, (str, os.PathLike)):
        raise WeightsError(
            "expected weights as 'hf-hub:org/repo', a path, a module or a state dict, got "
            f"{type(source).__name__}"
        )
    text = os.fsdecode(source)
    return _read_hub(HubRepo.parse(text)) if text.startswith(SCHEMES) else _read_local(text)


def _read_local(text: str) -> _Raw:
    path = _local_path(text)
    file = find_weights(path) if path.is_dir() or text.startswith(LOCAL_DIR) else path
    where = printable(file)
    content, notes = read_checkpoint(file)
    config = read_config(text)
    return _Raw(
        unwrap(content, where), where, sha256_of(file), license_of(config), config, tuple(notes)
    )


def _local_path(text: str) -> Path:
    path = Path(text.removeprefix(LOCAL_DIR)).expanduser()
    if not path.exists():
        hub = f"; on the Hub it would be 'hf-hub:{text}'" if text.count("/") == 1 else ""
        raise WeightsError(f"{path}: no such file or folder{hub}")
    return path


def _read_hub(repo: HubRepo) -> _Raw:
    for name in PREFERRED:
        try:
            file = fetch(repo, name)
        except FileAbsent as cause:
            absent = cause
            continue
        break
    else:
        raise HubError(f"{repo}: expected {' or '.join(PREFERRED)}, found neither") from absent
    where = f"{repo}/{file.path.name}"
    try:
        content, notes = read_checkpoint(file.path)
        state = unwrap(content, where)
    except WeightsError as cause:
        raise HubError(f"{repo}: {file.path.name} is unusable: {cause}") from cause
    try:
        config = _hub_config(repo)
    except (FileAbsent, HubUnreachable) as cause:
        # Not needed to load; timm's own cache often holds the weights alone.
        _log.info("%s: no config.json (%s)", repo, cause)
        config = None
    terms = license_of(config, repo.name)
    return _Raw(state, where, file.sha256, terms, config, tuple(notes))


def _hub_config(repo: HubRepo) -> dict[str, Any]:
    file = fetch(repo, CONFIG_NAME)
    try:
        return parse_config(file.path)
    except WeightsError as cause:
        raise HubError(f"{repo}: {cause}") from cause
