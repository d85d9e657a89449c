"""timm's config.json -> Res2NetConfig, and how the checkpoint wants its images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..config import VARIANTS, Res2NetConfig, variant_name
from ..errors import ConfigError

_PAIRS = ("input_size", "pool_size", "mean", "std", "test_input_size", "test_pool_size",
          "min_input_size")  # fmt: skip
_TOP_LEVEL = ("num_features", "global_pool", "model_args", "pretrained_cfg")
# timm's word -> ours, for arguments that are taken as they are
_TAKEN = {
    "layers": "layers",
    "channels": "planes",
    "base_width": "base_width",
    "cardinality": "cardinality",
    "stem_width": "stem_width",
    "avg_down": "avg_down",
    "in_chans": "in_chans",
    "num_classes": "num_classes",
}
_SEQUENCES = ("layers", "channels")
# Arguments of no effect on the network at inference, and of an effect only at other values.
_TRAINING_ONLY = ("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last")
_DEFAULTS = {
    "output_stride": 32,
    "block_reduce_first": 1,
    "down_kernel_size": 1,
    "replace_stem_pool": False,
    "act_layer": "relu",
    "norm_layer": "batchnorm2d",
    "aa_layer": None,
}


def config_from_timm(cfg: Mapping[str, Any]) -> tuple[Res2NetConfig, dict[str, Any], str]:
    """Architecture, pretrained_cfg and variant name of a parsed config.json.

    The older flat format, with the keys of pretrained_cfg at the top level, is read too. The
    pretrained_cfg is the file's own, with `architecture` and the `num_classes` and input channels
    of the network; nothing about images is filled in.

    Raises UnknownModelError for an architecture outside the family, ConfigError for model_args
    that are unknown, not supported or of the wrong type.
    """
    cfg = copy.deepcopy(dict(cfg))
    if not isinstance(cfg.get("architecture"), str):
        raise ConfigError(f"config.json: expected a string 'architecture', got {_show(cfg)}")
    name = variant_name(cfg["architecture"])
    pretrained = _pretrained(cfg)
    for holder in (cfg, pretrained):
        _require_pool(holder.get("global_pool"))
    args = cfg.get("model_args") or {}
    if not isinstance(args, dict):
        raise ConfigError(f"config.json: expected an object 'model_args', got {args!r}")
    # The arguments the model was built with win over the description of its weights.
    described = {
        "num_classes": cfg.get("num_classes", pretrained.get("num_classes")),
        "in_chans": (pretrained.get("input_size") or (None,))[0],
    }
    changes = {
        key: _integer(key, value) for key, value in described.items() if value is not None
    } | _changes(args)
    config = VARIANTS[name].replace(**changes)
    pretrained |= {"architecture": name, "num_classes": config.num_classes}
    if pretrained.get("input_size"):
        pretrained["input_size"] = (config.in_chans, *pretrained["input_size"][1:])
    return config, pretrained, name


def _pretrained(cfg: dict[str, Any]) -> dict[str, Any]:
    pretrained = cfg.get("pretrained_cfg")
    if pretrained is None:  # the older, flat format
        pretrained = {k: v for k, v in cfg.items() if k not in _TOP_LEVEL}
    if not isinstance(pretrained, dict):
        raise ConfigError(f"config.json: expected an object 'pretrained_cfg', got {pretrained!r}")
    for key in _PAIRS:
        if pretrained.get(key) is not None:
            if not isinstance(pretrained[key], (list, tuple)):
                raise ConfigError(f"config.json: expected a list '{key}', got {pretrained[key]!r}")
            pretrained[key] = tuple(pretrained[key])
    for key in ("label_names", "label_descriptions"):
        if key in cfg:
            pretrained.setdefault(key, cfg[key])
    return pretrained


def _changes(args: dict[str, Any]) -> dict[str, Any]:
    """timm's model_args as changes of a Res2NetConfig."""
    changes: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in args.items():
        if key in _TAKEN:
            changes[_TAKEN[key]] = _value(key, value)
        elif key == "block_args":
            changes |= _block_args(value)
        elif key == "stem_type" and value in ("", "deep"):
            changes["deep_stem"] = value == "deep"
        elif key == "global_pool":
            _require_pool(value)
        elif key not in _TRAINING_ONLY and not (key in _DEFAULTS and value == _DEFAULTS[key]):
            unknown.append(f"{key}={value!r}")
    if unknown:
        raise ConfigError(f"config.json: model_args not supported: {', '.join(unknown)}")
    return changes


def _require_pool(value: Any) -> None:
    if value not in (None, "avg", ""):
        raise ConfigError(f"config.json: expected global_pool 'avg' or '', got {value!r}")


def _block_args(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or set(value) - {"scale"}:
        raise ConfigError(
            f"config.json: block_args not supported: {value!r}; expected 'scale' only"
        )
    return {key: _integer(key, scale) for key, scale in value.items()}


def _value(key: str, value: Any) -> Any:
    if key in _SEQUENCES:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"config.json: expected a list of integers '{key}', got {value!r}")
        return tuple(_integer(key, item) for item in value)
    if key == "avg_down":
        if not isinstance(value, bool):
            raise ConfigError(f"config.json: expected true or false for '{key}', got {value!r}")
        return value
    return _integer(key, value)


def _integer(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config.json: expected an integer '{key}', got {value!r}")
    return value


def _show(cfg: Mapping[str, Any]) -> str:
    return f"keys {', '.join(map(str, cfg))}" if "architecture" not in cfg else "another type"
