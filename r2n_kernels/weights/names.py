"""Parameter names of other code bases, mapped to timm's.

| code base | differs from timm in |
|---|---|
| authors, v1b and Res2NeXt too | nothing; old files lack num_batches_tracked |
| mmdetection | `backbone.`; deep stem `stem.0 .. stem.7`; no classifier |
| mmpretrain | `backbone.`; deep stem `stem.0.conv`, `stem.0.bn`, ..; classifier `head.fc` |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..errors import WeightsError

# Wrappers add these in any order and number: DDP and EMA, torch.compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_BACKBONE = "backbone."
_CLASSIFIERS = ("fc.", "head.fc.")
_AVERAGE_COUNT = "n_averaged"  # torch.optim.swa_utils.AveragedModel's own counter

_MMDET_STEM = re.compile(r"stem\.([0-7])\.(\w+)")
_MMPRETRAIN_STEM = re.compile(r"stem\.([0-2])\.(conv|bn)\.(\w+)")

MMDET_NOTE = (
    "mmdetection's own forward pass does not pool the last split of layer1.0 as timm's and the "
    "authors' do, so its features differ from those here"
)


def canonical_names(state: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Rename every entry to timm's name; also returns notes on what was left out.

    Of a detector or classifier with a `backbone.`, only that and the classifier are kept.
    Raises WeightsError when two entries end up with one name.
    """
    notes: list[str] = []
    stripped = _collect(((_strip(key, _PREFIXES), key) for key in state), state, where)
    stripped.pop(_AVERAGE_COUNT, None)
    if any(key.startswith(_BACKBONE) for key in stripped):
        kept = [key for key in stripped if key.startswith((_BACKBONE, *_CLASSIFIERS))]
        left = Counter(key.partition(".")[0] for key in stripped if key not in set(kept))
        if left:
            parts = ", ".join(f"{name} ({count} tensors)" for name, count in left.items())
            notes.append(f"kept the backbone, left out {parts}")
        inner = ((_strip(key, (*_PREFIXES, _BACKBONE)), key) for key in kept)
        stripped = _collect(inner, stripped, where)
    if "stem.0.weight" in stripped:
        notes.append(MMDET_NOTE)
    return _collect(((_rename(key), key) for key in stripped), stripped, where), notes


def _collect(pairs: Any, state: Mapping[str, Any], where: str) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for new, old in pairs:
        if new in renamed:
            raise WeightsError(f"{where}: '{origin[new]}' and '{old}' are both '{new}'")
        renamed[new], origin[new] = state[old], old
    return renamed


def _strip(key: str, prefixes: tuple[str, ...]) -> str:
    found = True
    while found:
        found = False
        for prefix in prefixes:
            if key.startswith(prefix):
                key, found = key[len(prefix) :], True
    return key.replace("._orig_mod.", ".")


def _rename(key: str) -> str:
    if match := _MMDET_STEM.fullmatch(key):
        index, leaf = match.groups()
        return f"bn1.{leaf}" if index == "7" else f"conv1.{index}.{leaf}"
    if match := _MMPRETRAIN_STEM.fullmatch(key):
        index, kind, leaf = match.groups()
        if kind == "conv":
            return f"conv1.{3 * int(index)}.{leaf}"
        return f"bn1.{leaf}" if index == "2" else f"conv1.{3 * int(index) + 1}.{leaf}"
    return key[len("head.") :] if key.startswith("head.fc.") else key
