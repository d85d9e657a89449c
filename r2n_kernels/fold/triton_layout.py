"""Folded convolutions as the Triton kernels read them: whole tiles, zero-filled, groups padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.layout import pad_channels, pad_to
from ..kernels.tiles import TileConfig
from .batchnorm import FoldedConv


@dataclass(frozen=True)
class PackedConv:
    weight: Tensor  # in the network's dtype
    bias: Tensor  # float32


def pack_1x1(
    conv: FoldedConv, tile: TileConfig, *, in_group: int = 0, out_group: int = 0
) -> PackedConv:
    """[Co, Ci, 1, 1] -> weight [K_PAD, N_PAD], bias [N_PAD].

    in_group, out_group: channels of a split where the input or output is stored in padded groups;
    0 where it is dense.
    """
    weight, bias = conv.weight[:, :, 0, 0].t(), conv.bias[None]  # [Ci, Co], [1, Co]
    if in_group:
        weight = _pad_groups(weight.t(), in_group).t()
    if out_group:
        weight, bias = _pad_groups(weight, out_group), _pad_groups(bias, out_group)
    k, n = weight.shape
    k_pad, n_pad = pad_to(k, tile.block_k), pad_to(n, tile.block_n)
    packed = weight.new_zeros(k_pad, n_pad)
    packed[:k, :n] = weight
    return PackedConv(packed, _pad_bias(bias, n_pad)[0])


def pack_3x3(convs: Sequence[FoldedConv], tile: TileConfig) -> PackedConv:
    """The splits' [C, C / groups, 3, 3] -> weight [splits, 3, K_PAD, N_PAD], bias [splits, N_PAD].

    Row `tap * C + channel` of kernel line r holds weight[:, channel, r, tap]. Groups are expanded
    to a dense convolution with zeros.
    """
    width = convs[0].weight.shape[0]
    c = pad_channels(width)
    k_pad, n_pad = pad_to(3 * c, tile.block_k), pad_to(c, tile.block_n)
    packed = convs[0].weight.new_zeros(len(convs), 3, k_pad, n_pad)
    for split, conv in enumerate(convs):
        dense = _dense(conv)  # [Co, Ci, R, S]
        taps = packed[split, :, : 3 * c].unflatten(1, (3, c))  # [R, S, C, N_PAD]
        taps[:, :, :width, :width] = dense.permute(2, 3, 1, 0)
    bias = torch.stack([conv.bias for conv in convs])
    return PackedConv(packed, _pad_bias(bias, n_pad))


def _dense(conv: FoldedConv) -> Tensor:
    """A grouped weight with its zeros spelled out: [Co, Ci, R, S]."""
    if conv.groups == 1:
        return conv.weight
    blocks = conv.weight.chunk(conv.groups)  # [Co / groups, Ci / groups, R, S] each
    co, ci = blocks[0].shape[:2]
    dense = conv.weight.new_zeros(co * conv.groups, ci * conv.groups, *conv.weight.shape[2:])
    for i, block in enumerate(blocks):
        dense[i * co : (i + 1) * co, i * ci : (i + 1) * ci] = block
    return dense


def _pad_groups(columns: Tensor, group: int) -> Tensor:
    """[R, G * group] -> [R, G * padded group], zero-filled."""
    split = columns.unflatten(1, (-1, group))
    padded = split.new_zeros(*split.shape[:2], pad_channels(group))
    padded[:, :, :group] = split
    return padded.flatten(1)


def _pad_bias(bias: Tensor, n_pad: int) -> Tensor:
    """[R, N] -> float32 [R, N_PAD]."""
    padded = torch.zeros(bias.shape[0], n_pad, device=bias.device)
    padded[:, : bias.shape[1]] = bias
    return padded
