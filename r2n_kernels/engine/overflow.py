"""A watch sees whether activations overflow: NaN is born there, and oneDNN's ReLU makes it 0.

    |conv(x)| <= conv(|x|, |W|) + |b|        relu(conv(x)) <= conv(x, W+) + b+  where x >= 0

So the largest value M of a block's input bounds all that the block computes by gain * M + offset,
which are found once, when weights are folded. The product of all blocks' gains says nothing (1e47
to 1e172 in the nine variants with random weights, where float32 ends at 3e38), but one block's gain
is 1e2 to 1e10. A forward pass carries the bound from block to block, and where it would pass LIMIT,
looks for the largest value that is really there. Where that is too large, or is NaN or Inf, the
rest of the network must run with a ReLU that passes NaN on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fold import FoldedBlock, FoldedConv, FoldedNet

LIMIT = 1e38  # float32 and bfloat16 end at 3.4e38
# One sum and its stores: bfloat16 rounds by 2^-8, float32 a sum of 1e5 terms by 2^-7.
ROUNDING = 1 + 2**-6


class Line(NamedTuple):
    """A Line is a bound that grows with the largest magnitude of an input."""

    gain: float
    offset: float

    def at(self, largest: float) -> float:
        return self.gain * largest + self.offset


class Growth(NamedTuple):
    """A Growth bounds what a part of the network makes of its input."""

    inside: Line  # the largest magnitude of any sum
    output: Line  # the largest value handed on


class Watch:
    """Follow one forward pass; `growths` are by the name of each part's first step."""

    def __init__(self, growths: Mapping[str, Growth]) -> None:
        self.growths = growths
        self.bound = math.inf  # of what the next part reads: nothing is known yet
        self.safe = True

    def allows(self, step: str, x: Tensor) -> bool:
        """Return whether nothing overflows from a step, which reads x, to the next part's first."""
        growth = self.growths.get(step)
        if growth is not None and self.safe:
            if not growth.inside.at(self.bound) <= LIMIT:
                self.bound = largest(x)
            self.safe = growth.inside.at(self.bound) <= LIMIT  # not so for NaN
            self.bound = growth.output.at(self.bound)
        return self.safe


def largest(x: Tensor) -> float:
    """Return the largest magnitude in x [N, C, H, W], channels_last; NaN where it has one."""
    low, high = torch.aminmax(x.permute(0, 2, 3, 1))  # contiguous, so read in place
    return torch.maximum(-low, high).item()


@torch.no_grad()
def growths(net: FoldedNet) -> dict[str, Growth]:
    """Bound the stem, under its first convolution's name, and blocks, under their conv1's."""
    with torch.autocast("cpu", enabled=False):
        found = {net.stem[0].name: _stem(net.stem)}
        for block in net.blocks.values():
            found[block.conv1.name] = _block(block)
        return found


def _stem(convs: Iterable[FoldedConv]) -> Growth:
    """Bound the stem: its input may be negative, so there all weights count."""
    first, *rest = convs
    sums = [_sums(first, _input(first))]
    x = sums[0]
    for conv in rest:
        sums.append(_sums(conv, x))
        x = _relu(conv, x)
    return Growth(_line(*sums), _line(x))


def _block(block: FoldedBlock) -> Growth:
    """Bound the splits as the network runs them; pooling takes no mean above its input."""
    trunk = _input(block.conv1)
    y = _relu(block.conv1, trunk)
    sums = [_sums(block.conv1, trunk)]
    splits = y.split(block.convs[0].weight.shape[0], dim=1)
    outs: list[Tensor] = []
    for i, conv in enumerate(block.convs):
        z = outs[-1] + splits[i] if i and block.shortcut is None else splits[i]
        sums += [z, _sums(conv, z)]
        outs.append(_relu(conv, z))
    y = torch.cat([*outs, *splits[len(outs) :]], dim=1)
    added, shortcut = trunk, trunk
    if block.shortcut is not None:
        added, shortcut = _sums(block.shortcut, trunk), _relu(block.shortcut, trunk)
    sums.append(added + _sums(block.conv3, y))
    output = ROUNDING * (shortcut + _relu(block.conv3, y))
    return Growth(_line(*sums), _line(output))


# Bounds of channels are [2, C]: value <= bound[0] * largest + bound[1].


def _input(conv: FoldedConv) -> Tensor:
    channels = conv.weight.shape[1] * conv.groups
    return torch.tensor([[1.0], [0.0]], dtype=torch.float32, device="cpu").repeat(1, channels)


def _sums(conv: FoldedConv, x: Tensor) -> Tensor:
    """Bound the magnitudes of a convolution's sums, in whatever order they are taken."""
    return _bound(conv.weight.float().abs(), conv.bias.float().abs(), x, conv.groups)


def _relu(conv: FoldedConv, x: Tensor) -> Tensor:
    """Bound a convolution's values after ReLU, where its input is not negative."""
    return _bound(conv.weight.float().clamp(min=0), conv.bias.float().clamp(min=0), x, conv.groups)


def _bound(weight: Tensor, bias: Tensor, x: Tensor, groups: int) -> Tensor:
    """Bound a pixel inside the image, where no tap is cut off: all are alike."""
    window = x[:, :, None, None].expand(-1, -1, *weight.shape[2:])
    gain, offset = F.conv2d(window, weight, groups=groups)[:, :, 0, 0]
    return ROUNDING * torch.stack([gain, offset + bias])


def _line(*bounds: Tensor) -> Line:
    return Line(*torch.cat(bounds, dim=1).amax(dim=1).tolist())
