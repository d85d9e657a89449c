"""A name means a network; timm, config.json and the caller each describe its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import VARIANTS, Res2NetConfig, default_pretrained_cfg, variant_name
from ..errors import ConfigError
from ..names import FOLDER, HUB, parse_model_name
from ..weights import config_from_timm, read_config
from .pretrained import PretrainedCfg, as_described, checked_cfg, given_cfg


def architecture_of(
    name: str,
    checkpoint: str | None = None,
    pretrained_cfg: PretrainedCfg | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | None = None,
) -> tuple[Res2NetConfig, dict[str, Any]]:
    """Return the config and pretrained_cfg of a name, or of a config.json by the checkpoint.

    What the caller says, in pretrained_cfg or its overlay, comes last. Of a checkpoint without a
    config.json nobody says how many classes it has: the pretrained_cfg has no num_classes then.

    Raises ConfigError, UnknownModelError, TypeError; WeightsError and HubError for a config.json
    that cannot be read.
    """
    source, rest = parse_model_name(name)
    if source is not None:
        if pretrained_cfg:
            raise ConfigError(
                f"pretrained_cfg is for a variant's name; '{name}' brings its own, whose entries "
                "pretrained_cfg_overlay replaces"
            )
        stated = read_config(f"{source}:{rest}", cache_dir)
        if stated is None:
            raise ConfigError(f"'{name}' has no config.json, which names the architecture")
        config, cfg, _ = config_from_timm(stated)
        given: dict[str, Any] = {}
        cfg |= {"source": source, {HUB: "hf_hub_id", FOLDER: "file"}[source]: rest}
    else:
        base = variant_name(name)
        config, cfg = _variant(base, checkpoint, cache_dir)
        given = given_cfg(base, pretrained_cfg)
        if given:
            cfg = {"architecture": base, **given}
    said = given | checked_cfg(pretrained_cfg_overlay, "pretrained_cfg_overlay")
    return as_described(config, said), cfg | said


def _variant(
    base: str, checkpoint: str | None, cache_dir: str | None
) -> tuple[Res2NetConfig, dict[str, Any]]:
    stated = None if checkpoint is None else read_config(checkpoint, cache_dir)
    if stated is None:
        cfg = default_pretrained_cfg(base)
        if checkpoint is not None:
            del cfg["num_classes"]
        return VARIANTS[base], cfg
    config, cfg, architecture = config_from_timm(stated)
    if architecture != base:
        raise ConfigError(f"{checkpoint} holds a '{architecture}', expected a '{base}'")
    return config, cfg
