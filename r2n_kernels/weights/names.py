"""A checkpoint holds a network under wrappers, a prefix, and the names of another code base.

| code base | differs from timm in |
|---|---|
| authors, v1b and Res2NeXt too | nothing; old files lack num_batches_tracked |
| mmdetection | `backbone.`; deep stem `stem.0 .. stem.7`; no classifier |
| mmpretrain | `backbone.`; deep stem `stem.0.conv`, `stem.0.bn`, ..; classifier `head.fc` |
| wrappers of all kinds | a prefix: `module.`, `_orig_mod.`, `model.`, `timm_model.`, `0.`, .. |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..errors import WeightsError
from ..text import counted, listed, printable

# Exponential moving averages first, then timm's order. "module" is how DDP and DeepSpeed wrap.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "module",
    "net", "network",
)  # fmt: skip
MMDET_NOTE = (
    "mmdetection's own forward pass does not pool the last split of layer1.0 as timm's and the "
    "authors' do, so its features differ from those here"
)
_STAGE = re.compile(r"layer\d+")
_SPLITS = ("convs", "bns")  # only Res2Net's blocks have them: a ResNet beside it is an extra
_AVERAGE = re.compile(r"(^|[._])ema($|[._])")  # "model_ema.module.", "ema.", "ema_model."
_CLASSIFIERS = ("fc.", "head.fc.")
_MMDET_STEM = re.compile(r"stem\.([0-7])\.(\w+)")
_MMPRETRAIN_STEM = re.compile(r"stem\.([0-2])\.(conv|bn)\.(\w+)")


def unwrap(checkpoint: Any, where: str) -> dict[str, Tensor]:
    """Return the state dict inside a checkpoint, through any nesting of WRAPPERS.

    The first one that leads to tensors wins: an average that keeps its settings only is passed
    over. What lies beside it (optimizers, callbacks, settings) is not looked at.

    Raises WeightsError when there is none, or when it holds anything but named tensors.
    """
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(
            f"{where}: expected a state dict (a mapping of names to tensors), "
            f"found {type(checkpoint).__name__}"
        )
    state = _innermost(checkpoint)
    alien = [
        f"{key!r} ({type(value).__name__})"
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if alien:
        raise WeightsError(
            f"{where}: expected a state dict, at the top or under one of {', '.join(WRAPPERS)}; "
            f"found entries that are not named tensors: {listed(alien, 5)}"
        )
    if not state:
        raise WeightsError(f"{where}: the state dict is empty")
    return dict(state)


def _innermost(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Find the first mapping with tensors at the end of WRAPPERS, else the first without any."""
    pending, seen = [checkpoint], set()  # a file may say that a mapping holds itself
    bare = None
    while pending:
        mapping = pending.pop()
        seen.add(id(mapping))
        inner = [mapping[key] for key in WRAPPERS if isinstance(mapping.get(key), Mapping)]
        if not inner and any(isinstance(value, Tensor) for value in mapping.values()):
            return mapping
        if not inner and bare is None:
            bare = mapping
        pending += [wrapped for wrapped in reversed(inner) if id(wrapped) not in seen]
    return checkpoint if bare is None else bare


def canonical_names(state: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Rename the network's entries to timm's names; also returns notes on what was done.

    The rule: the network is what shares the prefix of the Res2Net blocks (`_find_prefix`), and a
    classifier `fc.` or `head.fc.` beside it where it has none of its own. Under a prefix, all
    other entries are extras (a loss, metrics, another head): they are left out, with a note.
    Without a prefix every entry belongs to the network. Entries of the network that have no place
    in it are passed on, and validation refuses them.

    Raises WeightsError when there are several networks, or two entries end up with one name.
    """
    prefix, notes = _find_prefix(state, where)
    head = _classifier_beside(state, prefix)
    extras: list[str] = []
    renamed: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for key, value in state.items():
        if key.startswith(prefix):
            new = _rename(key[len(prefix) :].replace("._orig_mod.", "."))
        elif head is not None and key.startswith(head):
            new = f"fc.{key[len(head) :]}"
        else:
            extras.append(key)
            continue
        if new in renamed:
            raise WeightsError(f"{where}: {origin[new]!r} and {key!r} are both {new!r}")
        renamed[new], origin[new] = value, key
    if extras:
        notes.append(_left_out(extras, prefix))
    if f"{prefix}stem.0.weight" in state:
        notes.append(MMDET_NOTE)
    return renamed, notes


def _find_prefix(names: Iterable[str], where: str) -> tuple[str, list[str]]:
    """Return the prefix of the network's names, "" or one that ends in a dot, and notes.

    It is what stands before `layer1` and its like in the names of the splits
    (`layer1.0.convs.0.weight`). Of several networks the one average of them wins (`ema` is a word
    of its prefix), as exponential moving averages do among the wrappers.

    Raises WeightsError naming the networks when there is no telling which.
    """
    places = {place for name in names if (place := _place(name)) is not None}
    if not places:  # not a Res2Net, as validation says in detail
        return "", []
    found = list(places)
    if len(found) > 1:
        found = [prefix for prefix in found if _AVERAGE.search(prefix)]
    if len(found) != 1:
        named = ", ".join(f"'{printable(p)}'" if p else "no prefix" for p in sorted(places)[:8])
        raise WeightsError(
            f"{where}: {len(places)} networks, under {named}: pass the state dict of one of them"
        )
    notes = [f"network under '{printable(found[0])}'"] if found[0] else []
    if len(places) > 1:
        notes.append("the moving average of the weights was taken")
    return found[0], notes


def _place(name: str) -> str | None:
    """Return what stands before the stage in the name of a split's entry."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if _STAGE.fullmatch(part):
            inner = any(split in parts[index + 1 :] for split in _SPLITS)
            return "".join(f"{outer}." for outer in parts[:index]) if inner else None
    return None


def _left_out(extras: Iterable[str], prefix: str) -> str:
    """Note the entries outside the network by the first part that differs from its prefix."""
    inside = prefix.split(".")[:-1]
    groups = Counter(_group(name.split("."), inside) for name in extras)
    named = [f"{printable(group)} ({counted(n, 'tensor')})" for group, n in groups.items()]
    return f"left out {listed(named)}"


def _group(parts: list[str], inside: list[str]) -> str:
    depth = 0
    while depth < min(len(inside), len(parts) - 1) and parts[depth] == inside[depth]:
        depth += 1
    return ".".join(parts[: depth + 1])


def _classifier_beside(state: Mapping[str, Any], prefix: str) -> str | None:
    """Return the prefix of the classifier next to a network that has none, the nearest one."""
    if any(f"{prefix}{name}weight" in state for name in _CLASSIFIERS):
        return None
    outer = prefix.split(".")[:-1]
    for depth in range(len(outer) - 1, -1, -1):
        for name in _CLASSIFIERS:
            head = "".join(f"{part}." for part in outer[:depth]) + name
            if f"{head}weight" in state:
                return head
    return None


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
