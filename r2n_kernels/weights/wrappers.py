"""Checkpoints come wrapped in dictionaries; find the state dict inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import WeightsError

# Exponential moving averages first, then timm's order. "module" is how DDP and DeepSpeed wrap.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "module",
    "net", "network",
)  # fmt: skip
_MAX_NAMED = 5


def unwrap(checkpoint: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, through any nesting of WRAPPERS.

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
        more = f" and {len(alien) - _MAX_NAMED} more" if len(alien) > _MAX_NAMED else ""
        raise WeightsError(
            f"{where}: expected a state dict, at the top or under one of {', '.join(WRAPPERS)}; "
            f"found entries that are not named tensors: {', '.join(alien[:_MAX_NAMED])}{more}"
        )
    if not state:
        raise WeightsError(f"{where}: the state dict is empty")
    return dict(state)


def _innermost(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The first mapping with tensors at the end of WRAPPERS, else the first without any."""
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
