"""Fit a checkpoint to another number of classes or input channels, as timm does."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import WeightsError
from .shapes import format_shape

CLASSIFIER = ("fc.weight", "fc.bias")
CLASSIFIER_SEED = 0
_MAX_VALUES = 1 << 24  # of a first convolution; 9408 in the published ones


def adapt_classifier(
    state: Mapping[str, Tensor], config: Res2NetConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """Drop a classifier of another size; start a fresh one where the config has classes.

    The fresh one is drawn as nn.Linear draws it (uniform within 1/sqrt(features), weight and
    bias), from a generator of its own seeded with CLASSIFIER_SEED.
    """
    weight = state.get("fc.weight")
    found = 0 if weight is None else int(weight.shape[0]) if weight.ndim else 1
    fits = weight is None or weight.shape[1:] == (config.pooled_features,)
    if found == config.num_classes and fits:
        return dict(state), []
    kept = {name: tensor for name, tensor in state.items() if name not in CLASSIFIER}
    if config.num_classes == 0:
        return kept, [f"classifier of {found} classes dropped"]
    bound = 1 / math.sqrt(config.pooled_features)
    generator = torch.Generator().manual_seed(CLASSIFIER_SEED)
    shapes = ((config.num_classes, config.pooled_features), (config.num_classes,))
    for name, shape in zip(CLASSIFIER, shapes, strict=True):
        kept[name] = torch.empty(shape, device="cpu", dtype=torch.float32)
        kept[name].uniform_(-bound, bound, generator=generator)
    was = f"was {found}" if found else "had none"
    return kept, [f"classifier of {config.num_classes} classes is untrained (checkpoint {was})"]


def adapt_in_chans(
    state: Mapping[str, Tensor], config: Res2NetConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """Sum the first convolution over its input channels, or tile and rescale it.

    [Co, Ci, R, S] -> [Co, in_chans, R, S]. One channel gets the sum; more get the channels
    repeated in order, times Ci / in_chans, so that a grey image excites either the same way.
    Raises WeightsError when the first convolution is not a float tensor of rank 4, or absurd.
    """
    name = "conv1.0.weight" if config.deep_stem else "conv1.weight"
    weight = state.get(name)
    if weight is None:  # validation names it
        return dict(state), []
    # A tensor of a few bytes may repeat one value without end.
    sane = weight.ndim == 4 and 0 < weight.numel() <= _MAX_VALUES
    if not sane or not weight.is_floating_point():
        raise WeightsError(
            f"cannot adapt {name} to {config.in_chans} input channels: expected a float tensor of "
            f"rank 4 and at most {_MAX_VALUES} values, found {weight.dtype} "
            f"{format_shape(weight.shape)}"
        )
    found = int(weight.shape[1])
    if found == config.in_chans:
        return dict(state), []
    weight = weight.float()
    if config.in_chans == 1:
        weight = weight.sum(dim=1, keepdim=True)
    else:
        repeats = math.ceil(config.in_chans / found)
        weight = weight.repeat(1, repeats, 1, 1)[:, : config.in_chans] * (found / config.in_chans)
    note = f"first convolution adapted from {found} to {config.in_chans} input channels"
    return {**state, name: weight}, [note]
