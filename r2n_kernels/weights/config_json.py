"""timm's config.json gives a Res2NetConfig, and tells how the checkpoint wants its images."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from ..config import POOLS, VARIANTS, Res2NetConfig, variant_name
from ..errors import ConfigError, WeightsError
from ..text import listed, printable, show
from .config_values import (
    CONFIG_NAME,
    MAX_DEPTH,
    check_description,
    integer,
    integers,
    is_deep,
    wrong,
)
from .shapes import check_buildable

_MAX_FILE = 1 << 24  # bytes
_MAX_NAME = 100  # characters
_TOP_LEVEL = ("num_features", "global_pool", "model_args", "pretrained_cfg")
# Arguments that are taken as they are.
_TAKEN = ("layers", "channels", "base_width", "cardinality", "stem_width", "avg_down", "in_chans",
          "num_classes")  # fmt: skip
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


def parse_config(path: Path) -> dict[str, Any]:
    """Read a file as a JSON object. Raises WeightsError when it is none, or absurd."""
    shown = printable(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as cause:
        raise WeightsError(f"{shown}: cannot be read: {cause.strerror or cause}") from cause
    if len(data) > _MAX_FILE:
        raise WeightsError(f"{shown}: larger than {_MAX_FILE} bytes")
    try:
        config = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as cause:  # bad JSON, not UTF-8, nested without end
        raise WeightsError(f"{shown}: not valid JSON: {cause}") from cause
    if not isinstance(config, dict):
        raise WeightsError(f"{shown}: expected a JSON object, found {type(config).__name__}")
    if is_deep(config):
        raise WeightsError(f"{shown}: values nest more than {MAX_DEPTH} deep")
    return config


def config_from_timm(cfg: dict[str, Any]) -> tuple[Res2NetConfig, dict[str, Any], str]:
    """Return the architecture, pretrained_cfg and variant name of a parsed config.json.

    The older flat format, with the keys of pretrained_cfg at the top level, is read too. The
    pretrained_cfg is the file's own, with `architecture` and the `num_classes` and input channels
    of the network; nothing about images is filled in.

    Raises UnknownModelError for an architecture outside the family, ConfigError for model_args
    that are unknown or not supported, for values of the wrong type, and for a network that nobody
    could build.
    """
    if is_deep(cfg):
        raise ConfigError(f"{CONFIG_NAME}: values nest more than {MAX_DEPTH} deep")
    cfg = copy.deepcopy(cfg)
    name = variant_name(_architecture(cfg))
    pretrained = _pretrained(cfg)
    args = cfg.get("model_args") or {}
    if not isinstance(args, dict):
        raise wrong("an object 'model_args'", args)
    # The arguments the model was built with win over the description of its weights.
    described = {
        "num_classes": cfg.get("num_classes", pretrained.get("num_classes")),
        "in_chans": (pretrained.get("input_size") or (None,))[0],
    }
    changes: dict[str, Any] = {
        key: integer(key, value) for key, value in described.items() if value is not None
    }
    for holder in (pretrained, cfg):
        if holder.get("global_pool") is not None:
            changes["global_pool"] = _pool(holder["global_pool"])
    config = VARIANTS[name].replace(**changes | _changes(args))
    check_buildable(config, CONFIG_NAME)
    pretrained |= {"architecture": name, "num_classes": config.num_classes}
    if pretrained.get("input_size"):
        pretrained["input_size"] = (config.in_chans, *pretrained["input_size"][1:])
    return config, pretrained, name


def _architecture(cfg: dict[str, Any]) -> str:
    name = cfg.get("architecture")
    if not isinstance(name, str):
        got = f"keys {show(list(cfg))}" if name is None else show(name)
        raise ConfigError(f"{CONFIG_NAME}: expected a string 'architecture', got {got}")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise ConfigError(f"{CONFIG_NAME}: no name of an architecture: {show(name)}")
    return name


def _pretrained(cfg: dict[str, Any]) -> dict[str, Any]:
    pretrained = cfg.get("pretrained_cfg")
    if pretrained is None:  # the older, flat format
        pretrained = {k: v for k, v in cfg.items() if k not in _TOP_LEVEL}
    if not isinstance(pretrained, dict):
        raise wrong("an object 'pretrained_cfg'", pretrained)
    for key in ("label_names", "label_descriptions"):
        if key in cfg:
            pretrained.setdefault(key, cfg[key])
    check_description(pretrained)
    return pretrained


def _changes(args: dict[str, Any]) -> dict[str, Any]:
    """Translate timm's model_args into changes of a Res2NetConfig."""
    changes: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in args.items():
        if key in _TAKEN:
            changes["planes" if key == "channels" else key] = _value(key, value)
        elif key == "block_args":
            changes |= _block_args(value)
        elif key == "stem_type" and value in ("", "deep"):
            changes["deep_stem"] = value == "deep"
        elif key == "global_pool":
            changes["global_pool"] = _pool(value)
        elif key not in _TRAINING_ONLY and not (key in _DEFAULTS and value == _DEFAULTS[key]):
            unknown.append(f"{printable(str(key))}={show(value)}")
    if unknown:
        raise ConfigError(f"{CONFIG_NAME}: model_args not supported: {listed(unknown)}")
    return changes


def _value(key: str, value: Any) -> Any:
    if key in ("layers", "channels"):
        return integers(key, value)
    if key == "avg_down":
        if not isinstance(value, bool):
            raise wrong(f"true or false for '{key}'", value)
        return value
    return integer(key, value)


def _pool(value: Any) -> str:
    if value not in POOLS:
        raise wrong(f"global_pool to be one of {POOLS}", value)
    return value


def _block_args(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or set(value) - {"scale"}:
        raise ConfigError(
            f"{CONFIG_NAME}: block_args not supported: {show(value)}; expected 'scale' only"
        )
    return {key: integer(key, scale) for key, scale in value.items()}
