"""Validation of a state dict against a configuration: all problems in one error."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Size, Tensor

from ..config import VARIANTS, Res2NetConfig
from ..errors import ConfigError, WeightsError
from ..finite import count_not_finite
from ..text import printable
from .adapt import CLASSIFIER
from .infer import config_from_state
from .shapes import expected_shapes, format_shape, is_counter

MAX_NAMED = 20  # entries listed per kind of problem
_CHANNELS_HINT = "another number of input channels: adapt them (adapt_in_chans=True)"


def validate(state: Mapping[str, Tensor], config: Res2NetConfig, where: str) -> dict[str, Tensor]:
    """A complete copy of `state` (timm's names) in the reference's order.

    Floats become float32; missing BatchNorm counters become zero. The copies are contiguous CPU
    tensors that share memory with nothing. Raises one WeightsError that names every missing,
    unexpected, mis-shaped or wrongly typed entry, non-finite values and negative variances.
    """
    expected = expected_shapes(config)
    problems = {
        "missing": [
            f"{name}: expected {format_shape(shape)}"
            for name, shape in expected.items()
            if name not in state and not is_counter(name)
        ],
        "unexpected": [
            f"{printable(name)}: found {format_shape(tensor.shape)}"
            for name, tensor in state.items()
            if name not in expected
        ],
        "mis-shaped": [
            f"{name}: expected {format_shape(shape)}, found {format_shape(state[name].shape)}"
            for name, shape in expected.items()
            if name in state and state[name].shape != shape
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
    problems |= {"of the wrong type": types, "with bad values": values}
    if any(problems.values()):
        raise WeightsError(_message(problems, state, config, where))
    return copies


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


def _message(
    problems: Mapping[str, list[str]],
    state: Mapping[str, Tensor],
    config: Res2NetConfig,
    where: str,
) -> str:
    lines = [f"{where}: the weights do not fit the model, nothing was loaded"]
    for kind, entries in problems.items():
        if entries:
            lines.append(f"  {len(entries)} {kind}:")
            lines += [f"    {entry}" for entry in entries[:MAX_NAMED]]
            if len(entries) > MAX_NAMED:
                lines.append(f"    and {len(entries) - MAX_NAMED} more")
    if hint := _hint(problems, state, config):
        lines.append(f"  {hint}")
    return "\n".join(lines)


def _hint(
    problems: Mapping[str, list[str]], state: Mapping[str, Tensor], config: Res2NetConfig
) -> str | None:
    shaped = [
        entry.partition(":")[0]
        for kind in ("missing", "unexpected", "mis-shaped")
        for entry in problems[kind]
    ]
    if not shaped:
        return None
    first = "conv1.0.weight" if config.deep_stem else "conv1.weight"
    stem = first in shaped and first in state and state[first].ndim == 4
    hints = [_CHANNELS_HINT] if stem else []
    if set(shaped) & set(CLASSIFIER):
        hints.append(_classifier_hint(state, config))
    if set(shaped) <= {*CLASSIFIER, *([first] if stem else [])}:
        return "; ".join(hints)
    try:
        found = config_from_state(state)
    except ConfigError:  # not a Res2Net at all; the lists above say so
        return None
    same = {"in_chans": config.in_chans, "num_classes": config.num_classes}
    names = [
        n for n, variant in VARIANTS.items() if variant.replace(**same) == found.replace(**same)
    ]
    return f"these weights are of {names[0]}" if names else f"these weights are of {found}"


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
