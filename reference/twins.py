"""One PyTorch twin per kernel: the same buffers, plain tensor operations, the oracle in tests."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.layout import PlanesLayout


def images_of(plane: Tensor, layout: PlanesLayout) -> Tensor:
    """A view [N, H, W, C] of the pixels of one plane [rows, C]; writing it writes the plane."""
    c, pitch = layout.C, layout.pitch
    strides = (layout.image_rows * c, pitch * c, c, 1)
    start = plane.storage_offset() + layout.front * c
    return plane.as_strided((layout.N, layout.H, layout.W, c), strides, start)


def conv1(x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, layout: PlanesLayout) -> None:
    """See kernels.conv1: the last group into y, the others into the planes."""
    k, c = x.shape[1], layout.C
    out = (_wide(x) @ _wide(w[:k]) + b.to(_wide(x).dtype)).relu().to(x.dtype)
    for group, plane in enumerate(planes):
        values = out[:, group * c : (group + 1) * c]
        images_of(plane, layout).copy_(values.view(layout.N, layout.H, layout.W, c))
    last = planes.shape[0] * c
    y[:, last : last + c] = out[:, last : last + c]


def stage(planes: Tensor, w: Tensor, b: Tensor, y: Tensor, layout: PlanesLayout) -> None:
    """See kernels.stage: the hierarchical chain, in place in the planes."""
    c = layout.C
    for split in range(len(planes)):
        z = images_of(planes[split], layout).permute(0, 3, 1, 2)  # [N, C, H, W]
        weight, bias = unpack_3x3(w[split], c), b[split, :c].to(_wide(z).dtype)
        out = F.conv2d(_wide(z), _wide(weight), bias, padding=1)
        out = out.relu().to(y.dtype).permute(0, 2, 3, 1)  # [N, H, W, C]
        y[:, split * c : (split + 1) * c] = out.reshape(-1, c)
        if split + 1 < len(planes):
            following = images_of(planes[split + 1], layout)
            following.copy_(_wide(following) + _wide(out))


def conv3(y: Tensor, w: Tensor, b: Tensor, shortcut: Tensor, out: Tensor) -> None:
    """See kernels.conv3."""
    k, n = y.shape[1], out.shape[1]
    acc = _wide(y) @ _wide(w[:k, :n]) + b[:n].to(_wide(y).dtype) + _wide(shortcut)
    out.copy_(acc.relu())


def unpack_3x3(w: Tensor, channels: int) -> Tensor:
    """[3, K_PAD, N_PAD] with K = (tap, input channel) -> [Co, Ci, 3, 3]."""
    taps = w[:, : 3 * channels, :channels].unflatten(1, (3, channels))  # [R, S, Ci, Co]
    return torch.permute(taps, (3, 2, 0, 1))


def _wide(tensor: Tensor) -> Tensor:
    """What a kernel accumulates in: float32; float64 where the twin is the exact one."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
