"""Blocks are packed in int8: symmetric, a scale for each output channel, columns first.

`triton_layout` says how rows and columns lie. Matrix instructions for int8 read K contiguously, so
a weight is [N_PAD, K_PAD] here. What its kernel does with the sums is b [3, N_PAD] in float32:

    out = sums * b[1] + b[0] + x * b[2]      # in quanta of the output; x is what is added, if any
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import BlockConfig, Res2NetConfig
from ..int8 import LARGEST, ActivationScales, BlockScales
from ..kernels.layout import pad_channels
from .batchnorm import FoldedBlock, FoldedConv, FoldedNet
from .triton_layout import PackedConv, pack_blocks, pack_conv, pack_gemm, pack_head, pack_stem

# The product of a projection goes on from the sums of conv3, in its own quanta: they may become
# so many times larger, and sums of 2048 channels still fit 32 bits.
FINEST = 8.0


def pack_int8(
    config: Res2NetConfig, folded: FoldedNet, state: Mapping[str, Tensor], dtype: torch.dtype,
    scales: ActivationScales,
) -> dict[str, PackedConv]:  # fmt: skip
    """Pack every weight under the name of its step: of blocks in int8, of the rest in `dtype`.

    The stem's last convolution gives quanta of its output, and the classifier takes those of the
    last block. Raises ConfigError for scales of another network, WeightsError as `pack_network`.
    """
    scales.check(config)
    *stem, last = folded.stem
    last = dataclasses.replace(last, weight=last.weight / scales.stem, bias=last.bias / scales.stem)
    entering = [scales.stem, *(block.out for block in scales.blocks)]
    by_name = {b.name: (x, b) for x, b in zip(entering, scales.blocks, strict=False)}

    def parts(block: BlockConfig) -> tuple[PackedConv, PackedConv, PackedConv]:
        return _block(folded.blocks[block.name], block, *by_name[block.name])

    packed = pack_stem(config, (*stem, last), dtype) | pack_blocks(config, parts)
    return packed | pack_head(config, state, dtype, entering[-1])


def _block(
    convs: FoldedBlock, block: BlockConfig, x: float, scales: BlockScales
) -> tuple[PackedConv, PackedConv, PackedConv]:
    """Pack what a block's steps take; x is the scale of its input."""
    planes, y, out = scales.planes, scales.y, scales.out
    splits, co = len(convs.convs), len(convs.conv1.bias)
    to = torch.full((co,), planes, dtype=torch.float64)  # the scale of each output channel
    if not block.is_first:
        to[splits * block.width :] = y  # the last split goes there at once
    conv1 = pack_gemm(_with_table(convs.conv1, x, to), torch.int8, out_group=block.width)

    ratio = planes / y / 9 if block.is_first else y / planes  # of nine pooled taps; of y in a sum
    chain = pack_conv(
        [_with_table(conv, planes, y, ratio) for conv in convs.convs],
        pad_channels(block.width), torch.int8,
    )  # fmt: skip
    if convs.shortcut is None:
        conv3 = pack_gemm(
            _with_table(convs.conv3, y, out, x / out), torch.int8, in_group=block.width
        )
        return _turned(conv1), _turned(chain), _turned(conv3)

    bias = convs.conv3.bias + convs.shortcut.bias
    first = y * weight_scales(convs.conv3.weight)  # of the sums
    shortcut = dataclasses.replace(convs.shortcut, bias=bias)
    least = torch.where(convs.conv3.weight.flatten(1).any(dim=1), first / FINEST / x, 0.0)
    scale = weight_scales(shortcut.weight, least, zero=first / x)  # then conv3's quanta stay
    last = pack_gemm(_with_table(shortcut, x, out, first / (x * scale), scale), torch.int8)
    conv3 = pack_gemm(_with_table(convs.conv3, y, out), torch.int8, in_group=block.width)
    conv3 = PackedConv(conv3.weight, last.bias, last.weight)
    return _turned(conv1), _turned(chain), _turned(conv3)


def weight_scales(
    weight: Tensor, least: Tensor | float = 0.0, zero: Tensor | float = 1.0
) -> Tensor:
    """Return the scale of each output channel [Co] in float64: `zero` where all weights are 0."""
    scale = weight.double().abs().flatten(1).amax(dim=1) / LARGEST
    return torch.where(scale > 0, scale.maximum(torch.as_tensor(least).double()), zero)


def _with_table(
    conv: FoldedConv, x: float, out: float | Tensor, ratio: float | Tensor = 0.0,
    scale: Tensor | None = None,
) -> FoldedConv:  # fmt: skip
    """Return a convolution with whole numbers as weights, and [3, Co] as its bias.

    x, out: scales of what it reads and writes. ratio: of what is added. scale: of the weights, by
    default the smallest.
    """
    scale = weight_scales(conv.weight) if scale is None else scale
    weight = (conv.weight.double() / scale[:, None, None, None]).round().clamp(-LARGEST, LARGEST)
    table = [conv.bias.double() / out, x * scale / out, torch.ones_like(scale) * ratio]
    return dataclasses.replace(conv, weight=weight, bias=torch.stack(table).float())


def _turned(conv: PackedConv) -> PackedConv:
    """Put the columns of weights first."""
    weight = conv.weight.transpose(-1, -2).contiguous()
    shortcut = None if conv.shortcut is None else conv.shortcut.t().contiguous()
    return PackedConv(weight, conv.bias, shortcut)
