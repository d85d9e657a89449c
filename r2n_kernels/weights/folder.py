"""A model is written as timm's folder: config.json beside model.safetensors, read back by both."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..config import HEADLINE, VARIANTS, Res2NetConfig
from ..errors import ConfigError
from ..fold.quantization import Quantization
from ..text import printable
from .config_values import CONFIG_NAME
from .quantization_file import STATED, write_quantization

WEIGHTS_NAME = "model.safetensors"
_SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture")
_KEPT_NULL = ("pool_size", "first_conv", "classifier")  # timm wants them said
_LABELS = ("label_names", "label_descriptions")


def write_folder(
    folder: str | os.PathLike, config: Res2NetConfig, cfg: Mapping[str, Any],
    state: Mapping[str, Tensor], quantization: Quantization | None = None,
) -> None:  # fmt: skip
    """Write a network, its pretrained_cfg and its state dict; the folder appears when complete.

    quantization: of the state dict; config.json then says that its file is there, too.

    Raises ConfigError where something is there already, or nothing can be written.
    """
    target, shown = check_new(folder), printable(folder)
    stated = {**config_json(config, cfg), **(STATED if quantization is not None else {})}
    text = json.dumps(stated, indent=2) + "\n"
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        (temporary / CONFIG_NAME).write_text(text, encoding="utf-8")
        save_file(dict(state), temporary / WEIGHTS_NAME, {"format": "pt"})
        if quantization is not None:
            write_quantization(temporary, quantization)
        os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(f"cannot write {shown}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new(folder: str | os.PathLike) -> Path:
    """Return the path of a folder that is to be written. Raises ConfigError if it is there."""
    target = Path(os.path.abspath(folder))  # "." has no name
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(f"cannot write {printable(folder)}: it is there already")
    return target


def config_json(config: Res2NetConfig, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a network, with timm's keys: what `config_from_timm` reads."""
    name = str(cfg.get("architecture"))
    name = name if name in VARIANTS else _nearest(config)
    described = {
        key: value
        for key, value in cfg.items()
        if key not in (*_SOURCES, *_LABELS) and (value is not None or key in _KEPT_NULL)
    }
    described |= {"custom_load": False, "num_classes": config.num_classes}
    described.pop("label_offset", None)
    if size := cfg.get("input_size"):
        described["input_size"] = [config.in_chans, *size[1:]]
        described["pool_size"] = [-(-edge // 32) for edge in size[1:]]
    known = cfg.get("num_classes", config.num_classes) == config.num_classes
    labels = {key: cfg[key] for key in _LABELS if known and cfg.get(key)}
    args = model_args(config, VARIANTS[name])
    return {
        "architecture": name,
        "num_classes": config.num_classes,
        "num_features": config.num_features,
        "global_pool": config.global_pool,
        **labels,
        **({"model_args": args} if args else {}),
        "pretrained_cfg": described,
    }


def model_args(config: Res2NetConfig, variant: Res2NetConfig) -> dict[str, Any]:
    """Return the arguments of timm's function for a variant that make another network of it."""
    taken = {
        "layers": "layers", "planes": "channels", "base_width": "base_width",
        "cardinality": "cardinality", "stem_width": "stem_width", "avg_down": "avg_down",
        "in_chans": "in_chans", "global_pool": "global_pool",
    }  # fmt: skip
    found = {
        theirs: getattr(config, ours)
        for ours, theirs in taken.items()
        if getattr(config, ours) != getattr(variant, ours)
    }
    if config.deep_stem != variant.deep_stem:
        found["stem_type"] = "deep" if config.deep_stem else ""
    if config.scale != variant.scale:
        found["block_args"] = {"scale": config.scale}
    return found


def _nearest(config: Res2NetConfig) -> str:
    """Return the variant that such a network is, or else one that its arguments make it of."""
    same: dict[str, Any] = {
        "in_chans": config.in_chans, "num_classes": config.num_classes,
        "global_pool": config.global_pool,
    }  # fmt: skip
    return next((n for n, v in VARIANTS.items() if v.replace(**same) == config), HEADLINE)
