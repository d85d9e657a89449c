"""Checkpoints come wrapped in dictionaries; find the state dict inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import WeightsError

# timm's order: exponential moving averages first. "module" is how DDP and DeepSpeed wrap.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "module")


def unwrap(checkpoint: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, through any nesting of WRAPPERS (the first one wins).

    Raises WeightsError when there is none, or when it holds anything but named tensors.
    """
    while isinstance(checkpoint, Mapping):
        inner = [checkpoint[k] for k in WRAPPERS if isinstance(checkpoint.get(k), Mapping)]
        if not inner:
            break
        checkpoint = inner[0]
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(
            f"{where}: expected a state dict (a mapping of names to tensors), "
            f"found {type(checkpoint).__name__}"
        )
    alien = [
        f"{key!r} ({type(value).__name__})"
        for key, value in checkpoint.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if alien:
        more = f" and {len(alien) - 5} more" if len(alien) > 5 else ""
        raise WeightsError(
            f"{where}: expected a state dict, at the top or under one of {', '.join(WRAPPERS)}; "
            f"found entries that are not named tensors: {', '.join(alien[:5])}{more}"
        )
    if not checkpoint:
        raise WeightsError(f"{where}: the state dict is empty")
    return dict(checkpoint)
