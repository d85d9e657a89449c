"""A model accepts as images floats [N, C, H, W], or bytes [N, H, W, C]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .config import MIN_SIZE
from .errors import InputError
from .tracing import as_constants, tracing

Values = tuple[float, ...]  # one per channel


def check_input(
    x: Tensor, channels: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return x as [N, C, H, W]; bytes are viewed so. channels: None takes any number.

    Raises TypeError, and InputError naming what came.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch.Tensor, got {type(x).__name__}")
    with as_constants():
        return _checked(x, channels, dtype, device)


def _checked(x: Tensor, channels: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    is_bytes = x.dtype == torch.uint8
    found = x.shape[3 if is_bytes else 1] if x.ndim == 4 else None
    if found is None or found != (found if channels is None else channels):
        wanted = f"[N, H, W, {channels}]" if is_bytes else f"[N, {channels}, H, W]"
        what = f"{'bytes' if is_bytes else 'a tensor'} of shape {wanted}"
        raise InputError(f"expected {what}, got {list(x.shape)}")
    if is_bytes:
        x = x.permute(0, 3, 1, 2)
    elif x.dtype != dtype:
        raise InputError(f"expected dtype {dtype}, got {x.dtype}; cast with x.to(...)")
    if x.device != device:
        raise InputError(f"the model is on {device}, but the input is on {x.device}")
    if min(x.shape[2:]) < MIN_SIZE:
        raise InputError(
            f"images must be at least {MIN_SIZE}x{MIN_SIZE}, got {x.shape[2]}x{x.shape[3]}"
        )
    return x


def check_finite(x: Tensor) -> None:
    """Raise InputError with the images that hold NaN or Inf; a traced graph cannot."""
    if not tracing() and not torch.isfinite(x).all():
        bad = (~torch.isfinite(x)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise InputError(f"the input has NaN or Inf in images {bad[:20]} of {x.shape[0]}")


def stated_normalization(pretrained_cfg: Mapping[str, Any], channels: int) -> tuple[Values, Values]:
    """Return the checkpoint's mean and std. Raises InputError where they are missing or misfit."""
    for key in ("mean", "std"):
        stated = pretrained_cfg.get(key)
        if stated is None or len(stated) != channels:
            raise InputError(
                f"bytes are normalised with pretrained_cfg['{key}'], which must have {channels} "
                f"values, got {stated}; pass normalised floats instead"
            )
    return tuple(pretrained_cfg["mean"]), tuple(pretrained_cfg["std"])


def scale_and_shift(mean: Values, std: Values, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return [C] float32 each: byte * scale + shift = (byte / 255 - mean) / std."""
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    with as_constants():
        return (
            torch.tensor(scale, dtype=torch.float32, device=device),
            torch.tensor(shift, dtype=torch.float32, device=device),
        )


def normalize(x: Tensor, normalization: tuple[Tensor, Tensor], dtype: torch.dtype) -> Tensor:
    """Scale and shift bytes [N, C, H, W] in float32, then cast to `dtype`."""
    scale, shift = normalization
    return (x.float() * scale[:, None, None] + shift[:, None, None]).to(dtype)
