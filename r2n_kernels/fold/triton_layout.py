"""The Triton kernels read folded convolutions so: whole tiles, zero-filled, groups padded.

One packing serves every tile, batch and schedule: rows are padded to LONGEST, columns to whole
tiles of any width (`weight_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import BlockConfig, Res2NetConfig
from ..kernels.layout import PlanesLayout, pad_channels, pad_image_channels, pad_to
from ..kernels.tiles import LONGEST, weight_columns
from .batchnorm import FoldedBlock, FoldedConv, FoldedNet, require_finite

BLOCK_STEPS = ("conv1", "convs", "conv3")  # names of a block's steps, after its own


@dataclass(frozen=True)
class PackedConv:
    weight: Tensor  # in the network's dtype, or in int8: columns first (`int8_layout`)
    bias: Tensor  # float32; of int8 the table [..., 3, N_PAD]
    shortcut: Tensor | None = None  # a projection's weight; its bias is in `bias`

    def changed(self, change: Callable[[Tensor], Tensor]) -> PackedConv:
        """Return the same with each tensor changed: copied, or on another device."""
        shortcut = None if self.shortcut is None else change(self.shortcut)
        return PackedConv(change(self.weight), change(self.bias), shortcut)


def pack_network(
    config: Res2NetConfig, folded: FoldedNet, state: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, PackedConv]:
    """Pack every weight under the name of its step in the plan. `folded` is in float32.

    Raises WeightsError when a folded weight is not finite in `dtype` (float16 overflows at 65504).
    """

    def parts(block: BlockConfig) -> tuple[PackedConv, PackedConv, PackedConv]:
        return pack_block(folded.blocks[block.name], block.width, dtype)

    packed = pack_stem(config, folded.stem, dtype) | pack_blocks(config, parts)
    return packed | pack_head(config, state, dtype)


def pack_stem(
    config: Res2NetConfig, stem: Sequence[FoldedConv], dtype: torch.dtype
) -> dict[str, PackedConv]:
    packed = {}
    channels = pad_image_channels(config.in_chans)
    for conv in stem:
        packed[conv.name] = pack_conv([conv], channels, dtype)
        channels = pad_channels(conv.weight.shape[0])
    return packed


def pack_blocks(
    config: Res2NetConfig, parts: Callable[[BlockConfig], Sequence[PackedConv]]
) -> dict[str, PackedConv]:
    """Name what `parts` makes of each block, the three of BLOCK_STEPS."""
    return {
        f"{block.name}.{op}": part
        for block in config.blocks()
        for op, part in zip(BLOCK_STEPS, parts(block), strict=True)
    }


def pack_head(
    config: Res2NetConfig, state: Mapping[str, Tensor], dtype: torch.dtype, scale: float = 1.0
) -> dict[str, PackedConv]:
    """Pack the classifier, if there is one, for embeddings that hold value / scale."""
    if not config.num_classes:
        return {}
    weight, bias = state["fc.weight"][:, :, None, None] * scale, state["fc.bias"]
    return {"fc": pack_gemm(FoldedConv("fc", weight, bias), dtype)}


def pack_block(
    convs: FoldedBlock, width: int, dtype: torch.dtype
) -> tuple[PackedConv, PackedConv, PackedConv]:
    """Pack the three of BLOCK_STEPS; `width` is that of a split."""
    conv1 = pack_gemm(convs.conv1, dtype, out_group=width)
    splits = pack_conv(convs.convs, pad_channels(width), dtype)
    conv3 = pack_gemm(convs.conv3, dtype, in_group=width)
    if convs.shortcut is not None:
        shortcut = pack_gemm(convs.shortcut, dtype)
        conv3 = PackedConv(conv3.weight, conv3.bias + shortcut.bias, shortcut.weight)
    return conv1, splits, conv3


def pack_gemm(
    conv: FoldedConv, dtype: torch.dtype, *, in_group: int = 0, out_group: int = 0
) -> PackedConv:
    """Pack [Co, Ci, 1, 1] as weight [K_PAD, N_PAD] and bias [N_PAD].

    in_group, out_group: channels of a split where the input or output is stored in padded groups;
    0 where it is dense.
    """
    weight, bias = _cast(conv, dtype)[:, :, 0, 0].t(), conv.bias  # [Ci, Co], [Co] or a table
    if in_group:
        weight = _pad_groups(weight.t(), in_group).t()
    if out_group:
        weight, bias = _pad_groups(weight, out_group), _pad_groups(bias, out_group)
    k, n = weight.shape
    packed = weight.new_zeros(pad_to(k, LONGEST), weight_columns(n))
    packed[:k, :n] = weight
    return PackedConv(packed, _pad_bias(bias, packed.shape[1]))


def pack_conv(convs: Sequence[FoldedConv], stored: int, dtype: torch.dtype) -> PackedConv:
    """Pack [Co, Ci / groups, R, R] each as weight [convs, R, K_PAD, N_PAD], bias [convs, N_PAD].

    stored: channels of an input pixel in memory. Row `(lead + tap) * stored + channel` of kernel
    line r holds weight[:, channel, r, tap]. Groups become a dense convolution with zeros.
    """
    co, _, r, _ = convs[0].weight.shape
    layout = PlanesLayout(1, 1, 1, stored, LONGEST, r)
    packed = torch.zeros(
        len(convs), r, layout.k, weight_columns(pad_channels(co)),
        dtype=dtype, device=convs[0].weight.device,
    )  # fmt: skip
    for split, conv in enumerate(convs):
        dense = _dense(conv, _cast(conv, dtype))  # [Co, Ci, R, R]
        taps = packed[split, :, layout.lead * stored : layout.line].unflatten(1, (r, stored))
        taps[:, :, : dense.shape[1], :co] = dense.permute(2, 3, 1, 0)
    bias = torch.stack([conv.bias for conv in convs])
    return PackedConv(packed, _pad_bias(bias, packed.shape[3]))


def _cast(conv: FoldedConv, dtype: torch.dtype) -> Tensor:
    weight = conv.weight.to(dtype)
    require_finite(conv.name, "weight", weight)
    return weight


def _dense(conv: FoldedConv, weight: Tensor) -> Tensor:
    """Spell out the zeros of a grouped weight: [Co, Ci, R, R]."""
    if conv.groups == 1:
        return weight
    blocks = weight.chunk(conv.groups)  # [Co / groups, Ci / groups, R, R] each
    co, ci = blocks[0].shape[:2]
    dense = weight.new_zeros(co * conv.groups, ci * conv.groups, *weight.shape[2:])
    for i, block in enumerate(blocks):
        dense[i * co : (i + 1) * co, i * ci : (i + 1) * ci] = block
    return dense


def _pad_groups(columns: Tensor, group: int) -> Tensor:
    """Pad [..., G * group] to [..., G * padded group] with zeros."""
    split = columns.unflatten(-1, (-1, group))
    padded = split.new_zeros(*split.shape[:-1], pad_channels(group))
    padded[..., :group] = split
    return padded.flatten(-2)


def _pad_bias(bias: Tensor, n_pad: int) -> Tensor:
    """Pad [..., N] to float32 [..., N_PAD]."""
    padded = torch.zeros(*bias.shape[:-1], n_pad, dtype=torch.float32, device=bias.device)
    padded[..., : bias.shape[-1]] = bias
    return padded
