"""This file has `create_model` and `from_timm`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..engine import TritonOptions
from ..errors import ConfigError
from ..model import CANONICAL, Res2NetModel
from ..names import is_bundle
from ..reference import Res2Net
from ..weights import config_from_module, load_weights, unwrap_module
from .architecture import architecture_of
from .pretrained import PretrainedCfg, kept_cfg, weights_of
from .timm_options import (
    check_flags,
    check_output_stride,
    check_rates,
    refuse_others,
    refuse_scripting,
)

if TYPE_CHECKING:
    from ..model.bundled import Model


def create_model(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg: PretrainedCfg | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    checkpoint_path: str | Path | None = None,
    cache_dir: str | Path | None = None,
    scriptable: bool | None = None,
    exportable: bool | None = None,
    no_jit: bool | None = None,
    *,
    checkpoint: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    global_pool: str | None = None,
    features_only: bool | None = False,
    out_indices: int | Sequence[int] | None = None,
    output_stride: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    drop_block_rate: float | None = None,
    zero_init_last: bool | None = None,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    check_finite: bool = False,
    triton: TritonOptions | None = None,
    low_memory: bool = False,
    frozen: bool = False,
    sha256: str | None = None,
    **timm_options: Any,
) -> Model:
    """Build a Res2Net for inference. Arguments are timm's, in its order, up to `checkpoint`.

    model_name: a variant ("res2net101_26w_4s", the tag ".in1k" allowed), or
        "hf-hub:org/repo@revision" or "local-dir:path" (timm's format: config.json beside the
        weights), the prefix in any case; or the path of a bundle, "model.r2n" of `r2n build`.
    pretrained: load the weights that belong to the name, from the Hub or the directory; or those
        that pretrained_cfg or its overlay names (state_dict, file, hf_hub_id: the first of these).
    pretrained_cfg: what is said of the weights, for a variant's name: a dict with timm's keys,
        timm's object, or the tag "in1k". Nothing that is missing in it is guessed.
    pretrained_cfg_overlay: entries that replace those of the pretrained_cfg.
    checkpoint, checkpoint_path (timm's word for it): load these weights instead: a file, a
        directory, or "hf-hub:...". A config.json beside them decides the architecture, which must
        be of the variant `model_name`. With pretrained=True they win, as in timm, where they are
        loaded last; the pretrained ones are not fetched.
    cache_dir: where the Hub's files are kept; None: as the Hub's environment variables say.
    num_classes, in_chans: None takes the checkpoint's (1000 and 3 for a variant's name; of a file
        without a config.json, the classes that its classifier has, and 3). With
        pretrained=True another value adapts the weights as timm does (classifier initialised
        afresh, or none at 0; first convolution summed or tiled). With a checkpoint they must
        fit, except that num_classes=0 drops the classifier.
    global_pool: "avg", "max", "avgmax", "catavgmax" (timm's fast ones are the same), or "" to keep
        the map (needs num_classes=0); None takes the checkpoint's ("avg" for a variant's name).
    features_only, out_indices: return a list of feature maps instead of logits; `FeatureInfo`
        says which.
    backend: "auto" (Triton kernels on GPUs that they support, OpenVINO on CPUs where it is
        installed, else torch), "torch", "triton" or "openvino". Weights that `r2n quantize` wrote
        run in int8 on "openvino", which "auto" then needs on a CPU, and in `dtype` on others.
        triton: options of that one.
    low_memory: on a CPU keep what is seldom read, as the parameters once they are packed, in a
        file without a name in the folder for temporary ones ($TMPDIR).
    frozen: promise that nobody changes the modules and weights, which else every call looks at
        (1.6 ms of a Res2Net-101 on a CPU); what is changed after all is seen by `refold()`.
    dtype, device: torch.float32 and the CPU by default, whatever PyTorch's defaults are.
    sha256: of a bundle's file; another one is refused. A bundle fixes its network: of the other
        arguments it takes pretrained and checkpoint where it has no weights, features_only,
        out_indices, backend, dtype (its own), device, check_finite and triton.
    check_finite: raise InputError on NaN or Inf in the input (one more pass over it).

    Of no effect: drop_rate, drop_path_rate, drop_block_rate and zero_init_last, which are about
    training; exportable and no_jit, which nothing here needs; output_stride, which must be 32;
    anything unknown that is None. Refused by name: scriptable=True, and timm's options that change
    the network (act_layer, block_args, ...), which take `from_timm`.

    Without pretrained or checkpoint the weights are random, drawn from torch's global generator.

    Raises UnknownModelError, ConfigError, WeightsError, HubError, BundleError; TypeError for wrong
    types.
    """
    check_flags(
        pretrained=pretrained,
        scriptable=scriptable,
        exportable=exportable,
        no_jit=no_jit,
        features_only=features_only,
        zero_init_last=zero_init_last,
        low_memory=low_memory,
        frozen=frozen,
    )
    check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate, drop_block_rate=drop_block_rate)
    refuse_scripting(scriptable)
    check_output_stride(output_stride)
    refuse_others(timm_options, inspect.signature(create_model).parameters)

    checkpoint = _one_checkpoint(checkpoint, checkpoint_path)
    if is_bundle(model_name):
        _refuse(
            f"of {model_name} is in the bundle", pretrained_cfg=pretrained_cfg,
            pretrained_cfg_overlay=pretrained_cfg_overlay, num_classes=num_classes,
            in_chans=in_chans, global_pool=global_pool,
        )  # fmt: skip
        _refuse("is for no bundle", low_memory=low_memory or None, frozen=frozen or None)
        from .bundled import bundled_model  # here: most models are none

        return bundled_model(
            model_name, pretrained=bool(pretrained), checkpoint=checkpoint, sha256=sha256,
            cache_dir=os.path.expanduser(cache_dir) if cache_dir else None, backend=backend,
            dtype=dtype, device=device, triton=triton, features_only=bool(features_only),
            out_indices=out_indices, check_finite=check_finite,
        )  # fmt: skip
    _refuse(f"is for a bundle, '{model_name}' is none", sha256=sha256)
    cache = os.path.expanduser(cache_dir) if cache_dir else None
    config, cfg = architecture_of(
        model_name, checkpoint, pretrained_cfg, pretrained_cfg_overlay, cache
    )
    wanted = {"num_classes": num_classes, "in_chans": in_chans, "global_pool": global_pool}
    config = config.replace(**{k: v for k, v in wanted.items() if v is not None})

    adapts = pretrained and checkpoint is None
    source = weights_of(cfg) if adapts else checkpoint
    quantization = None
    if source is None:
        weights = Res2Net(config, **CANONICAL).state_dict()
    else:
        unstated = checkpoint is not None and num_classes is None and "num_classes" not in cfg
        loaded = load_weights(
            source,
            config,
            adapt_classifier=num_classes is not None and (adapts or num_classes == 0),
            adapt_in_chans=in_chans is not None and adapts,
            any_classes=unstated,
            cache_dir=cache,
        )
        weights, quantization = loaded.state, loaded.quantization
        if unstated:
            config = config.replace(num_classes=len(weights.get("fc.weight", ())))
    if checkpoint is not None:
        cfg.setdefault("num_classes", config.num_classes)
    return Res2NetModel(
        config,
        weights,
        pretrained_cfg=kept_cfg(cfg, features_only),
        features_only=bool(features_only),
        out_indices=out_indices,
        backend=backend,
        dtype=dtype,
        device=device,
        check_finite=check_finite,
        triton=triton,
        low_memory=low_memory,
        frozen=frozen,
        quantization=quantization,
    )


def _refuse(why: str, **given: Any) -> None:
    """Raise ConfigError for an argument that has no place here."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} {why}")


def _one_checkpoint(checkpoint: str | Path | None, path: str | Path | None) -> str | None:
    """Return what either word for it names; timm's scripts pass "" for none."""
    if checkpoint and path:
        raise ConfigError("checkpoint and checkpoint_path are the same; pass one of them")
    given = checkpoint or path
    return os.fspath(given) if given else None


def from_timm(
    module: nn.Module,
    *,
    global_pool: str | None = None,
    features_only: bool | None = False,
    out_indices: int | Sequence[int] | None = None,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    check_finite: bool = False,
    triton: TritonOptions | None = None,
    low_memory: bool = False,
    frozen: bool = False,
) -> Res2NetModel:
    """Make a live Res2Net fast: timm's, or this package's reference. Its weights are copied.

    dtype and device default to the module's; global_pool to its pooling. Wrappers of
    torch.compile and of (distributed) data parallelism are looked through.

    Raises ConfigError, saying what does not fit, for any other module.
    """
    check_flags(features_only=features_only, low_memory=low_memory, frozen=frozen)
    module = unwrap_module(module)
    config = config_from_module(module)
    weights = load_weights(module, config).state
    if global_pool is not None:
        config = config.replace(global_pool=global_pool)
    first = next(module.parameters())
    return Res2NetModel(
        config,
        weights,
        pretrained_cfg=kept_cfg(getattr(module, "pretrained_cfg", None) or {}, features_only),
        features_only=bool(features_only),
        out_indices=out_indices,
        backend=backend,
        dtype=dtype or (module.dtype if isinstance(module, Res2NetModel) else first.dtype),
        device=device or first.device,
        check_finite=check_finite,
        triton=triton,
        low_memory=low_memory,
        frozen=frozen,
        quantization=module.quantization if isinstance(module, Res2NetModel) else None,
    )
