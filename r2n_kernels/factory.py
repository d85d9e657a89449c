"""How models are made: by name, from a checkpoint, or from a live timm module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import VARIANTS, Res2NetConfig, default_pretrained_cfg, variant_name
from .engine import TritonOptions
from .errors import ConfigError
from .model import Res2NetModel
from .owner import CANONICAL
from .reference import Res2Net
from .weights import (
    config_from_module,
    config_from_timm,
    load_weights,
    read_config,
    unwrap_module,
)

_SOURCES = ("hf-hub:", "local-dir:")


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    checkpoint: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    global_pool: str | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    check_finite: bool = False,
    triton: TritonOptions | None = None,
) -> Res2NetModel:
    """Build a Res2Net for inference.

    name: a variant ("res2net101_26w_4s", the tag ".in1k" allowed), "hf-hub:org/repo@revision" or
        "local-dir:path" (timm's format: config.json beside the weights).
    pretrained: load the weights that belong to the name, from the Hub or the directory.
    checkpoint: load these weights instead: a file, a directory, or "hf-hub:...". A config.json
        beside them decides the architecture, which must be of the variant `name`.
    num_classes, in_chans: None takes the checkpoint's (1000 and 3 for a variant's name). With
        pretrained=True another value adapts the weights as timm does (classifier initialised
        afresh, or none at 0; first convolution summed or tiled). With checkpoint=... they must
        fit, except that num_classes=0 drops the classifier.
    global_pool: "avg", "max", "avgmax", "catavgmax", or "" to keep the map (needs num_classes=0);
        None takes the checkpoint's ("avg" for a variant's name).
    features_only, out_indices: return a list of feature maps instead of logits.
    backend: "auto" (Triton kernels on GPUs that they support, else torch), "torch" or "triton";
        triton: options of the last.
    dtype, device: torch.float32 and the CPU by default, whatever PyTorch's defaults are.
    check_finite: raise InputError on NaN or Inf in the input (one more pass over it).

    Without pretrained or checkpoint the weights are random, drawn from torch's global generator.

    Raises UnknownModelError, ConfigError, WeightsError, HubError.
    """
    if pretrained and checkpoint is not None:
        raise ConfigError("pass either pretrained=True or checkpoint=..., not both")
    config, pretrained_cfg = _architecture(name, checkpoint)
    wanted = {"num_classes": num_classes, "in_chans": in_chans, "global_pool": global_pool}
    config = config.replace(**{k: v for k, v in wanted.items() if v is not None})

    source = checkpoint
    if pretrained:
        source = name if name.startswith(_SOURCES) else f"hf-hub:{pretrained_cfg['hf_hub_id']}"
    if source is None:
        weights = Res2Net(config, **CANONICAL).state_dict()
    else:
        weights = load_weights(
            str(source),
            config,
            adapt_classifier=num_classes is not None and (pretrained or num_classes == 0),
            adapt_in_chans=in_chans is not None and pretrained,
        ).state
    return Res2NetModel(
        config,
        weights,
        pretrained_cfg=pretrained_cfg,
        features_only=features_only,
        out_indices=out_indices,
        backend=backend,
        dtype=dtype,
        device=device,
        check_finite=check_finite,
        triton=triton,
    )


def _architecture(name: str, checkpoint: str | Path | None) -> tuple[Res2NetConfig, dict[str, Any]]:
    """The config and pretrained_cfg that the name, or a config.json by the checkpoint, states."""
    if name.startswith(_SOURCES):
        stated = read_config(name)
        if stated is None:
            raise ConfigError(f"'{name}' has no config.json, which names the architecture")
        config, pretrained_cfg, _ = config_from_timm(stated)
        return config, pretrained_cfg
    base = variant_name(name)
    stated = None if checkpoint is None else read_config(str(checkpoint))
    if stated is None:
        return VARIANTS[base], default_pretrained_cfg(base)
    config, pretrained_cfg, architecture = config_from_timm(stated)
    if architecture != base:
        raise ConfigError(f"{checkpoint} holds a '{architecture}', expected a '{base}'")
    return config, pretrained_cfg


def from_timm(
    module: nn.Module,
    *,
    global_pool: str | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    check_finite: bool = False,
    triton: TritonOptions | None = None,
) -> Res2NetModel:
    """Make a live Res2Net fast: timm's, or this package's reference. Its weights are copied.

    dtype and device default to the module's; global_pool to its pooling. Wrappers of
    torch.compile and of (distributed) data parallelism are looked through.

    Raises ConfigError, saying what does not fit, for any other module.
    """
    module = unwrap_module(module)
    config = config_from_module(module)
    weights = load_weights(module, config).state
    if global_pool is not None:
        config = config.replace(global_pool=global_pool)
    first = next(module.parameters())
    return Res2NetModel(
        config,
        weights,
        pretrained_cfg=getattr(module, "pretrained_cfg", None) or {},
        features_only=features_only,
        out_indices=out_indices,
        backend=backend,
        dtype=dtype or (module.dtype if isinstance(module, Res2NetModel) else first.dtype),
        device=device or first.device,
        check_finite=check_finite,
        triton=triton,
    )
