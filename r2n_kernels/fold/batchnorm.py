"""BatchNorm is folded into the convolution before it, in float64.

y = gamma * (conv(x, W) - mean) / sqrt(var + eps) + beta
  = conv(x, W * s) + (beta - mean * s)         with s = gamma / sqrt(var + eps)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import WeightsError
from ..finite import count_not_finite

BN_EPS = 1e-5  # PyTorch's default, timm's and the authors' alike


@dataclass(frozen=True)
class FoldedConv:
    """A convolution has its BatchNorm folded in. Padding is R // 2 on every side."""

    name: str  # of the convolution, in timm's names
    weight: Tensor  # [Co, Ci / groups, R, S]
    bias: Tensor  # [Co]
    stride: int = 1
    groups: int = 1
    scale: Tensor | None = None  # [Co], of an int8 weight


@dataclass(frozen=True)
class FoldedBlock:
    conv1: FoldedConv
    convs: tuple[FoldedConv, ...]
    conv3: FoldedConv
    shortcut: FoldedConv | None


@dataclass(frozen=True)
class FoldedNet:
    """A FoldedNet has all convolutions of the network, folded. The classifier is not part of it."""

    stem: tuple[FoldedConv, ...]
    blocks: Mapping[str, FoldedBlock]  # "layer1.0" -> block, in order

    def by_step(self) -> dict[str, tuple[FoldedConv, ...]]:
        """Return the convolutions by the name of their step in a plan."""
        steps: dict[str, tuple[FoldedConv, ...]]
        steps = {conv.name: (conv,) for conv in self.stem}
        for path, block in self.blocks.items():
            steps[f"{path}.conv1"] = (block.conv1,)
            steps[f"{path}.convs"] = block.convs
            steps[f"{path}.conv3"] = (block.conv3,)
            if block.shortcut is not None:
                steps[f"{path}.downsample"] = (block.shortcut,)
        return steps


def fold(config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype) -> FoldedNet:
    """Fold a canonical state dict; weights and biases come out in `dtype`.

    Raises WeightsError when a folded value is not finite in `dtype` (float16 overflows at 65504).
    """

    def conv(name: str, bn: str, stride: int = 1, groups: int = 1) -> FoldedConv:
        var = state[f"{bn}.running_var"].double()
        scale = state[f"{bn}.weight"].double() / torch.sqrt(var + BN_EPS)  # [Co]
        shift = state[f"{bn}.bias"].double() - state[f"{bn}.running_mean"].double() * scale
        weight = state[f"{name}.weight"].to(torch.float64, copy=True)
        weight *= scale[:, None, None, None]
        folded = FoldedConv(name, weight.to(dtype), shift.to(dtype), stride, groups)
        for what in ("weight", "bias"):
            require_finite(name, what, getattr(folded, what))
        return folded

    stem: tuple[FoldedConv, ...]
    if config.deep_stem:
        stem = (
            conv("conv1.0", "conv1.1", stride=2),
            conv("conv1.3", "conv1.4"),
            conv("conv1.6", "bn1"),
        )
    else:
        stem = (conv("conv1", "bn1", stride=2),)

    blocks = {}
    for block in config.blocks():
        path, stride = block.name, block.stride
        shortcut = None
        if block.is_first:
            shortcut = (
                conv(f"{path}.downsample.1", f"{path}.downsample.2")
                if config.avg_down
                else conv(f"{path}.downsample.0", f"{path}.downsample.1", stride)
            )
        blocks[path] = FoldedBlock(
            conv1=conv(f"{path}.conv1", f"{path}.bn1"),
            convs=tuple(
                conv(f"{path}.convs.{i}", f"{path}.bns.{i}", stride, config.cardinality)
                for i in range(config.num_convs)
            ),
            conv3=conv(f"{path}.conv3", f"{path}.bn3"),
            shortcut=shortcut,
        )
    return FoldedNet(stem, blocks)


def require_finite(conv: str, what: str, tensor: Tensor) -> None:
    """Raise WeightsError for NaN or Inf; a tensor without data, as `r2n inspect` folds, passes."""
    if not tensor.is_meta and (bad := count_not_finite(tensor)):
        raise WeightsError(
            f"{conv}: {bad} values of the folded {what} are not finite in {tensor.dtype}; "
            "use a dtype with a wider range (torch.bfloat16 or torch.float32)"
        )
