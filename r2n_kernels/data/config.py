"""A model's preprocessing follows timm's resolution rules, but nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError


def resolve_data_config(
    args: Mapping[str, Any] | None = None,
    pretrained_cfg: Mapping[str, Any] | None = None,
    model: Any = None,
    *,
    in_chans: int = 3,
) -> dict[str, Any]:
    """Return a model's preprocessing: input_size, interpolation, mean, std, crop_pct, crop_mode.

    A value in `args` (timm's names: input_size, or img_size with in_chans or chans; interpolation;
    mean; std; crop_pct; crop_mode) wins over `pretrained_cfg`, which wins over
    `model.pretrained_cfg`. `in_chans` is the channel count where `args` has an img_size alone.

    timm falls back on defaults that need not be the checkpoint's (bicubic, for one). Here only
    crop_mode has a default, "center": raises ConfigError that names every other key that is
    missing, or the value that cannot be used.
    """
    args = args or {}
    cfg = pretrained_cfg or getattr(model, "pretrained_cfg", None) or {}
    channels = _first(args.get("in_chans"), args.get("chans"), in_chans)
    if args.get("input_size") is not None:
        channels = _input_size(args["input_size"])[0]

    config = {
        "input_size": _first(_args_size(args, channels), cfg.get("input_size")),
        "interpolation": args.get("interpolation") or cfg.get("interpolation") or None,
        "mean": _first(_per_channel(args, "mean", channels), cfg.get("mean") or None),
        "std": _first(_per_channel(args, "std", channels), cfg.get("std") or None),
        "crop_pct": args.get("crop_pct") or cfg.get("crop_pct") or None,
        "crop_mode": args.get("crop_mode") or cfg.get("crop_mode") or "center",
    }
    missing = [key for key, value in config.items() if value is None]
    if missing:
        raise ConfigError(
            f"the model's configuration does not say how to prepare images: no {', '.join(missing)}"
            " in args or pretrained_cfg; a guess could change the result, so pass them in args"
        )
    return config


def resolve_model_data_config(
    model: Any,
    args: Mapping[str, Any] | None = None,
    pretrained_cfg: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Call `resolve_data_config`, model first; `model` is any object with a `pretrained_cfg`.

    Raises ConfigError as `resolve_data_config` does.
    """
    return resolve_data_config(args, pretrained_cfg, model)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _input_size(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise ConfigError(f"input_size must be (channels, height, width), got {value!r}")
    return tuple(value)


def _args_size(args: Mapping[str, Any], channels: int) -> tuple[int, int, int] | None:
    if args.get("input_size") is not None:
        return _input_size(args["input_size"])
    size = args.get("img_size")
    if size is None:
        return None
    if not isinstance(size, int):
        raise ConfigError(f"img_size must be one integer, got {size!r}; use input_size for a shape")
    return (channels, size, size)


def _per_channel(args: Mapping[str, Any], key: str, channels: int) -> tuple[float, ...] | None:
    """Return `args[key]`, with a single value repeated for each channel."""
    if args.get(key) is None:
        return None
    values = tuple(args[key])
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise ConfigError(f"{key} must have 1 or {channels} values, got {values}")
    return values
