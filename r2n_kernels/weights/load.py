"""This file loads weights of any source, complete and checked against a configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ..config import Res2NetConfig
from . import check
from .names import canonical_names
from .sources import Source, Weights, read_source

_log = logging.getLogger("r2n_kernels.weights")


def load_weights(
    source: Source,
    config: Res2NetConfig,
    *,
    adapt_classifier: bool = False,
    adapt_in_chans: bool = False,
    any_classes: bool = False,
    cache_dir: str | None = None,
) -> Weights:
    """Load weights of any `source`, complete and checked against `config`.

    source: `hf-hub:org/repo[@revision]`; a folder, or `local-dir:folder`; a checkpoint file
      (.safetensors, .pth, .pt, .bin, .pth.tar, .tar, .ckpt; safetensors under any name); an index
      of shards (.index.json); a live module, timm's or the reference; or a state dict, perhaps
      wrapped. Tensors are copied.
    adapt_classifier: replace a classifier of another size by an untrained one (none at
      num_classes=0); see `check.adapt_classifier`.
    adapt_in_chans: fold or tile the first convolution; see `check.adapt_in_chans`.
    any_classes: check against the classes that the checkpoint has, not those of `config`.
    cache_dir: where the Hub's files are kept; None: as the Hub's environment variables say.

    Logs one line of origin, hash and licence: at INFO, and at DEBUG for a module or state dict,
    whose caller knows it. Raises WeightsError naming every key that does not fit, or HubError;
    nothing is half-loaded.
    """
    weights = read_source(source, cache_dir)
    state, notes = canonical_names(weights.state, weights.source)
    if any_classes:
        config = check.with_its_classes(state, config, weights.source)
    if adapt_classifier:
        state, more = check.adapt_classifier(state, config)
        notes += more
    if adapt_in_chans:
        state, more = check.adapt_in_chans(state, config)
        notes += more
    state = check.validate(state, config, weights.source)
    weights = replace(weights, state=state, notes=(*weights.notes, *notes))
    in_memory = isinstance(source, (nn.Module, Mapping))
    _log.log(logging.DEBUG if in_memory else logging.INFO, "%s", weights)
    return weights
