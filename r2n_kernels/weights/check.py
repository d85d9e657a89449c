"""A state dict is held to its configuration here: adapted on request, then validated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Size, Tensor

from ..config import VARIANTS, Res2NetConfig
from ..errors import ConfigError, WeightsError
from ..finite import count_not_finite
from ..text import printable
from .shapes import (
    check_buildable,
    config_from_state,
    expected_shapes,
    format_shape,
    is_counter,
)

CLASSIFIER = ("fc.weight", "fc.bias")
CLASSIFIER_SEED = 0
MAX_NAMED = 20  # entries listed per kind of problem
_MAX_VALUES = 1 << 24  # of a first convolution; 9408 in the published ones


def with_its_classes(
    state: Mapping[str, Tensor], config: Res2NetConfig, where: str
) -> Res2NetConfig:
    """Return the config with as many classes as the classifier in `state`, 0 where it has none.

    Raises WeightsError for a number that nobody could build.
    """
    weight = state.get("fc.weight")
    if weight is not None and weight.ndim != 2:  # validation names it
        return config
    config = config.replace(num_classes=0 if weight is None else int(weight.shape[0]))
    try:
        check_buildable(config, where)
    except ConfigError as cause:
        raise WeightsError(str(cause)) from cause
    return config


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


def validate(state: Mapping[str, Tensor], config: Res2NetConfig, where: str) -> dict[str, Tensor]:
    """Return a complete copy of `state` (timm's names) in the reference's order.

    Floats become float32; missing BatchNorm counters become zero. The copies are contiguous CPU
    tensors that share memory with nothing. Raises one WeightsError that names every missing,
    unexpected, mis-shaped or wrongly typed entry, non-finite values and negative variances.
    """
    expected = expected_shapes(config)
    misfits = {
        "missing": [name for name in expected if name not in state and not is_counter(name)],
        "unexpected": [name for name in state if name not in expected],
        "mis-shaped": [
            n for n, shape in expected.items() if n in state and state[n].shape != shape
        ],
    }
    copies: dict[str, Tensor] = {}
    types: list[str] = []
    values: list[str] = []
    for name, shape in expected.items():
        tensor = state.get(name)
        if tensor is not None and tensor.shape == shape and (fault := _type_fault(name, tensor)):
            types.append(f"{name}: {fault}")
        elif tensor is None or tensor.shape == shape:
            copies[name] = _copy(name, shape, tensor)
            if fault := _value_fault(name, copies[name]):
                values.append(f"{name}: {fault}")
    problems = {
        kind: [_shapes_of(name, state, expected) for name in names]
        for kind, names in misfits.items()
    } | {"of the wrong type": types, "with bad values": values}
    if any(problems.values()):
        lines = [f"{where}: the weights do not fit the model, nothing was loaded"]
        for kind, entries in problems.items():
            lines += [f"  {len(entries)} {kind}:"] if entries else []
            lines += [f"    {entry}" for entry in entries[:MAX_NAMED]]
            if len(entries) > MAX_NAMED:
                lines.append(f"    and {len(entries) - MAX_NAMED} more")
        if hint := _hint({name for names in misfits.values() for name in names}, state, config):
            lines.append(f"  {hint}")
        raise WeightsError("\n".join(lines))
    return copies


def _shapes_of(name: str, state: Mapping[str, Tensor], expected: Mapping[str, Size]) -> str:
    wanted = [f"expected {format_shape(expected[name])}"] if name in expected else []
    found = [f"found {format_shape(state[name].shape)}"] if name in state else []
    return f"{printable(name)}: {', '.join(wanted + found)}"


def _type_fault(name: str, tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "found a meta tensor, which holds no data"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return f"expected a dense tensor, found {tensor.dtype} in layout {tensor.layout}"
    if is_counter(name):
        return None if not tensor.is_complex() else f"expected a count, found {tensor.dtype}"
    return None if tensor.is_floating_point() else f"expected a float type, found {tensor.dtype}"


def _copy(name: str, shape: Size, tensor: Tensor | None) -> Tensor:
    dtype = torch.int64 if is_counter(name) else torch.float32
    if tensor is None:
        return torch.zeros(shape, dtype=dtype, device="cpu")
    return torch.empty(shape, dtype=dtype, device="cpu").copy_(tensor.detach())


def _value_fault(name: str, tensor: Tensor) -> str | None:
    if is_counter(name):
        return None
    if bad := count_not_finite(tensor):
        return f"{bad} of {tensor.numel()} values are NaN or infinite as float32"
    if name.endswith(".running_var") and (negative := int((tensor < 0).sum())):
        return f"{negative} negative values, the lowest {float(tensor.min()):.3g}"
    return None


def _hint(misfits: set[str], state: Mapping[str, Tensor], config: Res2NetConfig) -> str | None:
    """Say what to do about entries of other shapes, or whose weights these are."""
    if not misfits:
        return None
    first = "conv1.0.weight" if config.deep_stem else "conv1.weight"
    stem = first in misfits and first in state and state[first].ndim == 4
    adapt = "another number of input channels: adapt them (adapt_in_chans=True)"
    hints = [adapt] if stem else []
    if misfits & set(CLASSIFIER):
        hints.append(_classifier_hint(state, config))
    if misfits <= {*CLASSIFIER, *([first] if stem else [])}:
        return "; ".join(hints)
    try:
        found = config_from_state(state)
    except ConfigError:  # not a Res2Net at all; the lists above say so
        return None
    same = {"in_chans": config.in_chans, "num_classes": config.num_classes}
    names = [
        n for n, variant in VARIANTS.items() if variant.replace(**same) == found.replace(**same)
    ]
    return f"these weights are of {names[0] if names else found}"


def _classifier_hint(state: Mapping[str, Tensor], config: Res2NetConfig) -> str:
    weight = state.get("fc.weight")
    if weight is None or weight.ndim == 0:
        return (
            "the checkpoint has no classifier: build the model with num_classes=0, or start a "
            "fresh one (adapt_classifier=True)"
        )
    return (
        f"the classifier has {weight.shape[0]} classes, the model {config.num_classes}: adapt it "
        f"(adapt_classifier=True), or build the model with num_classes={weight.shape[0]}"
    )
