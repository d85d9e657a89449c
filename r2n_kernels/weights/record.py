"""What was loaded: the tensors, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..text import printable

NOT_STATED = "not stated"
# timm's configs say "unknown"; github.com/Res2Net/Res2Net-PretrainedModels says CC BY-NC-SA.
UNCLEAR = "unknown per timm; the authors' README says CC BY-NC-SA"
SHORT_HASH = 12
_MAX_LICENSE = 200  # characters


@dataclass(frozen=True, eq=False)
class Weights:
    """A complete state dict of one `Res2NetConfig`, and its origin.

    state: timm's names -> contiguous CPU tensors that share memory with nothing else: float32, and
      int64 for `num_batches_tracked` (zero where the checkpoint has none). Loads strictly into
      `reference.Res2Net(config)`.
    source: where from, for people.
    file_sha256: of the file, where there is one, not shards.
    license: terms of the weights, as far as their source states them.
    config: the parsed config.json beside the weights, if there is one.
    notes: what was done to the weights beyond renaming, one sentence each.
    """

    state: dict[str, Tensor]
    source: str
    file_sha256: str | None
    license: str = NOT_STATED
    config: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Of the file; of the tensors (`hash_tensors`) where there is none, once asked for."""
        return self.file_sha256 or hash_tensors(self.state)

    def __str__(self) -> str:
        return self.describe()

    def describe(self) -> str:
        """One line: where from, short hash, licence, notes. Control characters are escaped."""
        digest = self.sha256[:SHORT_HASH]
        line = f"weights from {self.source}, sha256 {digest}, licence {self.license}"
        return printable("; ".join([line, *self.notes]))


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """sha256 of names, dtypes, shapes and values, in the order of the names. CPU tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def license_of(config: Mapping[str, Any] | None, repo: str | None = None) -> str:
    """Terms as config.json states them; upstream's unclear ones are spelled out."""
    pretrained = (config or {}).get("pretrained_cfg")
    stated = (pretrained if isinstance(pretrained, Mapping) else config or {}).get("license")
    if stated and str(stated).lower() != "unknown":
        return printable(str(stated))[:_MAX_LICENSE]
    if stated or (repo or "").startswith(("timm/res2net", "timm/res2next")):
        return UNCLEAR
    return NOT_STATED
