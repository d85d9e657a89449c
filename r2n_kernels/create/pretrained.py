"""timm's pretrained_cfg holds what a checkpoint says of itself, and where its weights are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from ..config import Res2NetConfig, default_pretrained_cfg
from ..errors import ConfigError
from ..names import FOLDER, HUB
from ..text import printable
from ..weights.config_values import check_description, integer
from ..weights.files import PREFERRED
from ..weights.sources import Source

_KEYS = frozenset(
    {
        "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture",
        "tag", "custom_load", "input_size", "test_input_size", "min_input_size",
        "fixed_input_size", "interpolation", "crop_pct", "test_crop_pct", "crop_mode", "mean",
        "std", "num_classes", "label_offset", "label_names", "label_descriptions", "pool_size",
        "test_pool_size", "first_conv", "classifier", "license", "description", "origin_url",
        "paper_name", "paper_ids", "notes",
    }
)  # fmt: skip
_OF_CLASSIFIERS = ("num_classes", "classifier")  # timm drops these where there is none


class HasToDict(Protocol):
    """A HasToDict stands for timm's PretrainedCfg, or what has its `to_dict`."""

    def to_dict(self) -> dict[str, Any]: ...


PretrainedCfg = str | Mapping[str, Any] | HasToDict


def given_cfg(base: str, given: PretrainedCfg | None) -> dict[str, Any]:
    """Return the pretrained_cfg that a caller passed: entries, timm's object, or a tag.

    Empty where there is none. Raises ConfigError, UnknownModelError for a tag, TypeError.
    """
    if isinstance(given, str):
        return default_pretrained_cfg(f"{base}.{given}") if given else {}
    if given is not None and hasattr(given, "to_dict"):
        given = given.to_dict()
    return checked_cfg(given, "pretrained_cfg")


def checked_cfg(entries: Mapping[str, Any] | None, argument: str) -> dict[str, Any]:
    """Copy the entries, lists as tuples. A key that timm does not have is a slip: refused."""
    if not isinstance(entries, (Mapping, type(None))):
        raise TypeError(f"{argument} must be a dict of timm's keys, got {type(entries).__name__}")
    cfg = dict(entries or {})
    if unknown := [printable(str(key)) for key in cfg if key not in _KEYS]:
        raise ConfigError(f"{argument} has no key {', '.join(unknown)}; it has timm's")
    check_description(cfg, argument)
    for key in ("num_classes", "label_offset"):
        if cfg.get(key) is not None:
            integer(key, cfg[key], argument)
    return cfg


def as_described(config: Res2NetConfig, cfg: Mapping[str, Any]) -> Res2NetConfig:
    """Return the config, with the classes and input channels that the cfg states, if it does."""
    changes = {}
    if (classes := cfg.get("num_classes")) is not None and classes >= 0:  # timm: -1 says nothing
        changes["num_classes"] = classes
    if cfg.get("input_size"):
        changes["in_chans"] = cfg["input_size"][0]
    return config.replace(**changes)


def weights_of(cfg: Mapping[str, Any]) -> Source:
    """Say where the weights are, in timm's order of precedence; raises ConfigError if nowhere."""
    for key in ("custom_load", "label_offset"):
        if cfg.get(key):
            raise ConfigError(f"pretrained_cfg['{key}'] is not supported, got {cfg[key]!r}")
    stated, hub = cfg.get("source"), cfg.get("hf_hub_id")
    if stated not in (HUB, FOLDER) and cfg.get("state_dict"):
        return cfg["state_dict"]
    if stated != HUB and cfg.get("file"):
        file = os.fspath(cfg["file"])
        return f"{FOLDER}:{file}" if stated == FOLDER else file
    if stated != FOLDER and hub:
        name = cfg.get("hf_hub_filename")
        if name and name not in PREFERRED:
            raise ConfigError(
                f"pretrained_cfg['hf_hub_filename'] must be one of {', '.join(PREFERRED)}, got "
                f"{name!r}; download another file and pass its path as checkpoint_path"
            )
        return f"{HUB}:{hub}"
    if cfg.get("url"):
        raise ConfigError(
            f"pretrained_cfg names its weights by url alone, {cfg['url']!r}: download them and "
            "pass their path as checkpoint_path"
        )
    raise ConfigError("pretrained_cfg says nowhere where its weights are: no hf_hub_id and no file")


def kept_cfg(cfg: Mapping[str, Any], features_only: bool | None) -> dict[str, Any]:
    """Keep what the model shows: no tensors; and, as in timm, no classifier for feature maps."""
    dropped = ("state_dict", *(_OF_CLASSIFIERS if features_only else ()))
    return {key: value for key, value in cfg.items() if key not in dropped}
