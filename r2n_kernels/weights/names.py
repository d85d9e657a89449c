"""Parameter names of other code bases, mapped to timm's.

| code base | differs from timm in |
|---|---|
| authors, v1b and Res2NeXt too | nothing; old files lack num_batches_tracked |
| mmdetection | `backbone.`; deep stem `stem.0 .. stem.7`; no classifier |
| mmpretrain | `backbone.`; deep stem `stem.0.conv`, `stem.0.bn`, ..; classifier `head.fc` |
| wrappers of all kinds | a prefix: `module.`, `_orig_mod.`, `model.`, `timm_model.`, `0.`, .. |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import WeightsError
from .network import find_prefix, left_out

_CLASSIFIERS = ("fc.", "head.fc.")
_MMDET_STEM = re.compile(r"stem\.([0-7])\.(\w+)")
_MMPRETRAIN_STEM = re.compile(r"stem\.([0-2])\.(conv|bn)\.(\w+)")

MMDET_NOTE = (
    "mmdetection's own forward pass does not pool the last split of layer1.0 as timm's and the "
    "authors' do, so its features differ from those here"
)


def canonical_names(state: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Rename the network's entries to timm's names; also returns notes on what was done.

    The rule: the network is what shares the prefix of the Res2Net blocks (`find_prefix`), and a
    classifier `fc.` or `head.fc.` beside it where it has none of its own. Under a prefix, all
    other entries are extras (a loss, metrics, another head): they are left out, with a note.
    Without a prefix every entry belongs to the network. Entries of the network that have no place
    in it are passed on, and validation refuses them.

    Raises WeightsError when there are several networks, or two entries end up with one name.
    """
    prefix, notes = find_prefix(state, where)
    head = _classifier_beside(state, prefix)
    extras = []
    pairs = []
    for key in state:
        if key.startswith(prefix):
            pairs.append((_rename(key[len(prefix) :].replace("._orig_mod.", ".")), key))
        elif head is not None and key.startswith(head):
            pairs.append((f"fc.{key[len(head) :]}", key))
        else:
            extras.append(key)
    if extras:
        notes.append(left_out(extras, prefix))
    if f"{prefix}stem.0.weight" in state:
        notes.append(MMDET_NOTE)
    return _collect(pairs, state, where), notes


def _classifier_beside(state: Mapping[str, Any], prefix: str) -> str | None:
    """The prefix of the classifier next to a network that has none, the nearest one."""
    if any(f"{prefix}{name}weight" in state for name in _CLASSIFIERS):
        return None
    outer = prefix.split(".")[:-1]
    for depth in range(len(outer) - 1, -1, -1):
        for name in _CLASSIFIERS:
            head = "".join(f"{part}." for part in outer[:depth]) + name
            if f"{head}weight" in state:
                return head
    return None


def _collect(
    pairs: Iterable[tuple[str, str]], state: Mapping[str, Any], where: str
) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for new, old in pairs:
        if new in renamed:
            raise WeightsError(f"{where}: {origin[new]!r} and {old!r} are both {new!r}")
        renamed[new], origin[new] = state[old], old
    return renamed


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
