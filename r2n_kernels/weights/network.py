"""Where in a state dict the Res2Net is: the prefix that its entries share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..errors import WeightsError
from ..text import counted, printable

_MAX_NAMED = 8
_STAGE = re.compile(r"layer\d+")
_SPLITS = ("convs", "bns")  # only Res2Net's blocks have them: a ResNet beside it is an extra
_AVERAGE = re.compile(r"(^|[._])ema($|[._])")  # "model_ema.module.", "ema.", "ema_model."


def find_prefix(names: Iterable[str], where: str) -> tuple[str, list[str]]:
    """The prefix of the network's names ("" or one that ends in a dot), and a note if there is one.

    It is what stands before `layer1` and its like in the names of the splits
    (`layer1.0.convs.0.weight`). Of several networks the one average of them wins (`ema` is a word
    of its prefix), as exponential moving averages do among the wrappers.

    Raises WeightsError naming the networks when there is no telling which.
    """
    counts = Counter(place for name in names if (place := _place(name)) is not None)
    if not counts:  # not a Res2Net, as validation says in detail
        return "", []
    found = list(counts)
    if len(found) > 1:
        found = [prefix for prefix in found if _AVERAGE.search(prefix)]
    if len(found) != 1:
        named = ", ".join(
            f"'{printable(p)}'" if p else "no prefix" for p in sorted(counts)[:_MAX_NAMED]
        )
        raise WeightsError(
            f"{where}: {len(counts)} networks, under {named}: pass the state dict of one of them"
        )
    notes = [f"network under '{printable(found[0])}'"] if found[0] else []
    if len(counts) > 1:
        notes.append("the moving average of the weights was taken")
    return found[0], notes


def left_out(extras: Iterable[str], prefix: str) -> str:
    """A note on the entries outside the network, by the first part that differs from its prefix."""
    inside = prefix.split(".")[:-1]
    groups = Counter(_group(name.split("."), inside) for name in extras)
    named = [
        f"{printable(group)} ({counted(count, 'tensor')})"
        for group, count in list(groups.items())[:_MAX_NAMED]
    ]
    more = f" and {len(groups) - _MAX_NAMED} more" if len(groups) > _MAX_NAMED else ""
    return f"left out {', '.join(named)}{more}"


def _place(name: str) -> str | None:
    parts = name.split(".")
    for index, part in enumerate(parts):
        if _STAGE.fullmatch(part):
            inner = any(split in parts[index + 1 :] for split in _SPLITS)
            return "".join(f"{outer}." for outer in parts[:index]) if inner else None
    return None


def _group(parts: list[str], inside: list[str]) -> str:
    depth = 0
    while depth < min(len(inside), len(parts) - 1) and parts[depth] == inside[depth]:
        depth += 1
    return ".".join(parts[: depth + 1])
