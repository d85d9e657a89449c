"""A quantization says how a folded network becomes int8: what a calibration found out.

It belongs to float32 weights, which stay what they are: int8 weights are rounded from them, by a
scale for each output channel. What convolutions read is rounded at places of the graph that
`engine.openvino_graph` builds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..digest import hash_tensors
from ..errors import WeightsError
from ..int8 import LARGEST
from .batchnorm import FoldedConv

LEVELS = 256  # of 8 bits


class Range(NamedTuple):
    """A Range is what values are clamped to, and how many of them are told apart."""

    low: float
    high: float
    levels: int


@dataclass(frozen=True, eq=False)
class Quantization:
    """A Quantization is what is written beside the weights that it was made from.

    scales: by convolution, [Co]; whoever has none stays float32.
    ranges: by place, the name of a node and which of its inputs, as "layer1.0.conv1:0".
    trunk: hash of the weights in front of the classifier, which stays float.
    facts: how it was made and what it costs, for people.
    """

    scales: Mapping[str, Tensor]
    ranges: Mapping[str, Range]
    trunk: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise WeightsError for scales and ranges by which nothing can be rounded."""
        for name, scale in self.scales.items():
            if not (scale.isfinite().all() and (scale > 0).all()):
                raise WeightsError(f"quantization: scales of {name} must be finite and above 0")
        for place, (low, high, levels) in self.ranges.items():
            if not (-math.inf < low < high < math.inf and 2 <= levels <= LEVELS):
                raise WeightsError(
                    f"quantization: expected low < high and 2 to {LEVELS} levels at {place}, got "
                    f"{low}, {high}, {levels}"
                )

    @property
    def digest(self) -> str:
        """Return the SHA-256 of all that outputs depend on."""
        parts = [hash_tensors(self.scales), sorted(self.ranges.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Raise WeightsError where these canonical weights are not those that were quantized."""
        if hash_trunk(state) != self.trunk:
            raise WeightsError(
                "the weights were changed after they were quantized: run `r2n quantize` on them "
                "anew, or take backend='torch' for float32"
            )

    def applied(
        self, weights: Mapping[str, Sequence[FoldedConv]]
    ) -> dict[str, tuple[FoldedConv, ...]]:
        """Return folded convolutions, by step, with int8 weights.

        Raises WeightsError where a scale is for no convolution, or for another one.
        """
        convs = {conv.name: conv for step in weights.values() for conv in step}
        for name, scale in self.scales.items():
            if name not in convs or scale.shape != convs[name].bias.shape:
                raise WeightsError(f"the quantization has {name} {[*scale.shape]}, not so here")
        return {name: tuple(map(self._rounded, step)) for name, step in weights.items()}

    def _rounded(self, conv: FoldedConv) -> FoldedConv:
        scale = self.scales.get(conv.name)
        if scale is None:
            return conv
        steps = conv.weight / scale.reshape(-1, *[1] * (conv.weight.ndim - 1))
        steps = steps.add_(LARGEST).round_().sub_(LARGEST)  # NNCF counts from below: ties are odd
        weight = steps.clamp_(-LARGEST, LARGEST).to(torch.int8)
        return replace(conv, weight=weight, scale=scale)


def hash_trunk(state: Mapping[str, Tensor]) -> str:
    """Return the hash of what a canonical state computes with in front of the classifier."""
    unused = ("num_batches_tracked", "fc.weight", "fc.bias")
    return hash_tensors({k: v.detach().cpu() for k, v in state.items() if not k.endswith(unused)})
