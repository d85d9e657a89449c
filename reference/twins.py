"""Every op has its twin here: plain tensor operations on the same buffers, the oracle in tests.

A twin takes what its op's launcher takes, but for `kernel_options`, and runs at once. In float64 it
is the exact result; in a smaller dtype it accumulates in float32 and rounds where the kernel does.
Of int8 it gives the kernel's bits: sums are exact in float64, and what follows is rounded to
float32 where the kernel rounds. Weights and b are then as `fold.int8_layout` packs them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..int8 import LARGEST
from ..kernels.layout import PlanesLayout


def images_of(plane: Tensor, layout: PlanesLayout) -> Tensor:
    """View the pixels of one plane [rows, C] as [N, H, W, C]; writing them writes the plane."""
    c, pitch = layout.C, layout.pitch
    strides = (layout.image_rows * c, pitch * c, c, 1)
    start = plane.storage_offset() + layout.front * c
    return plane.as_strided((layout.N, layout.H, layout.W, c), strides, start)


def prepare(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, image: Tensor, *, layout: PlanesLayout
) -> None:
    """See kernels.prepare."""
    value = x if x.dtype == torch.float64 else x.float()
    if scale is not None and shift is not None:
        value = value * scale[:, None, None] + shift[:, None, None]
    pixels = images_of(image[0], layout)
    pixels.zero_()
    pixels[..., : x.shape[1]] = value.permute(0, 2, 3, 1)


def conv(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int,
    out_layout: PlanesLayout | None,
) -> None:  # fmt: skip
    """See kernels.conv."""
    n = out.shape[-1]
    result = _conv(x[0], w[0], b[0], layout, stride, n).to(out.dtype)  # [N, Ho, Wo, Co]
    if out_layout is None:
        out.copy_(result.reshape(-1, n))
    else:
        images_of(out[0], out_layout).copy_(result)


def conv_pool(
    x: Tensor, w: Tensor, b: Tensor, out: Tensor, *, layout: PlanesLayout, stride: int
) -> None:
    """See kernels.conv_pool."""
    made = _conv(x[0], w[0], b[0], layout, stride, out.shape[-1])  # [N, H, W, Co]
    pooled = F.max_pool2d(_narrow(made, x.dtype).permute(0, 3, 1, 2), 3, 2, 1)
    out.copy_(_narrow(_rows(pooled), out.dtype))


def maxpool(x: Tensor, out: Tensor, *, H: int, W: int) -> None:
    """See kernels.maxpool."""
    out.copy_(_narrow(_rows(F.max_pool2d(_nchw(x, H, W), 3, 2, 1)), out.dtype))


def avgpool(x: Tensor, out: Tensor, *, H: int, W: int) -> None:
    """See kernels.avgpool."""
    pooled = F.avg_pool2d(_nchw(_wide(x), H, W), 2, 2, ceil_mode=True, count_include_pad=False)
    out.copy_(_narrow(_rows(pooled), out.dtype))


def conv1(
    x: Tensor, w: Tensor, b: Tensor, planes: Tensor, y: Tensor, *, layout: PlanesLayout
) -> None:
    """See kernels.conv1: groups into the planes; the last into y, where no plane holds it."""
    c, n = layout.C, y.shape[1]
    out = _narrow(_gemm(x, w, b)[:, :n].relu(), x.dtype)
    for group, plane in enumerate(planes):
        values = out[:, group * c : (group + 1) * c]
        images_of(plane, layout).copy_(values.view(layout.N, layout.H, layout.W, c))
    last = planes.shape[0] * c
    if last < n:
        y[:, last:] = out[:, last:]


def stage(planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout) -> None:
    """See kernels.stage: the hierarchical chain, in place in the planes."""
    c = layout.C
    for split in range(len(planes)):
        out = _conv(planes[split], w[split], b[split], layout, 1, c)
        out = _narrow(out, y.dtype)  # [N, H, W, C]
        y[:, split * c : (split + 1) * c] = out.reshape(-1, c)
        if split + 1 < len(planes):
            following = images_of(planes[split + 1], layout)
            following.copy_(_narrow(_added(out, _wide(following), b[split], c), y.dtype))


def resident_stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout
) -> None:
    """See kernels.resident: the same chain, which leaves the planes alone."""
    stage(planes.clone(), w, b, y, layout=layout)


def first_stage(
    planes: Tensor, w: Tensor, b: Tensor, y: Tensor, *, layout: PlanesLayout, stride: int
) -> None:
    """See kernels.first_stage: independent convolutions and the pooled last split."""
    c = layout.C
    for group, plane in enumerate(planes):
        if group < len(w):
            out = _conv(plane, w[group], b[group], layout, stride, c)
        else:
            z = _wide(images_of(plane, layout)).permute(0, 3, 1, 2)
            if plane.dtype == torch.int8:
                z = F.avg_pool2d(z, 3, stride, padding=1, divisor_override=1)
                out = _added(z.permute(0, 2, 3, 1), torch.zeros((), dtype=z.dtype), b[0], c)
            else:
                out = F.avg_pool2d(z, 3, stride, padding=1).permute(0, 2, 3, 1)
        y[:, group * c : (group + 1) * c] = _narrow(out.reshape(-1, c), y.dtype)


def conv3(y: Tensor, w: Tensor, b: Tensor, x: Tensor, out: Tensor) -> None:
    """See kernels.conv3."""
    n = out.shape[1]
    out.copy_(_narrow(_added(x, _gemm(y, w, b)[:, :n], b, n).relu(), out.dtype))


def conv3_project(
    y: Tensor, w: Tensor, b: Tensor, x: Tensor, ws: Tensor, out: Tensor, *,
    H: int, W: int, stride: int,
) -> None:  # fmt: skip
    """See kernels.conv3."""
    strided = x.view(-1, H, W, x.shape[1])[:, ::stride, ::stride].reshape(-1, x.shape[1])
    if y.dtype == torch.int8:
        sums = _fused(_product(y, w), b[2], torch.full_like(b[2], 0.5)).floor()
        result = _fused(sums + _product(strided, ws), b[1], b[0])
    else:
        result = _gemm(y, w, b) + _product(strided, ws)
    out.copy_(_narrow(result[:, : out.shape[1]].relu(), out.dtype))


def global_pool(x: Tensor, out: Tensor) -> None:
    """See kernels.global_pool."""
    out.copy_(_wide(x).view(len(out), -1, x.shape[1]).mean(dim=1))


def linear(x: Tensor, w: Tensor, b: Tensor, out: Tensor) -> None:
    """See kernels.linear."""
    out.copy_(_gemm(x, w, b)[:, : out.shape[1]])


def unpack(w: Tensor, layout: PlanesLayout, columns: int) -> Tensor:
    """Unpack [R, K_PAD, N_PAD], where K = (tap, input channel), into [Co, Ci, R, R]."""
    w = _turned(w)
    start = layout.lead * layout.C
    taps = w[:, start : layout.line, :columns].unflatten(1, (layout.R, layout.C))
    return torch.permute(taps, (3, 2, 0, 1))


def _conv(
    plane: Tensor, w: Tensor, b: Tensor, layout: PlanesLayout, stride: int, columns: int
) -> Tensor:
    """Return relu(convolution + bias) of a plane's images: [N, Ho, Wo, columns], wide."""
    z = _wide(images_of(plane, layout)).permute(0, 3, 1, 2)  # [N, C, H, W]
    weight = _wide(unpack(w, layout, columns))
    if plane.dtype == torch.int8:
        sums = F.conv2d(z, weight, None, stride, layout.pad).permute(0, 2, 3, 1)
        return _fused(sums, b[1, :columns], b[0, :columns]).relu()
    bias = b[:columns].to(z.dtype)
    return F.conv2d(z, weight, bias, stride, layout.pad).relu().permute(0, 2, 3, 1)


def _gemm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Return x [M, K] @ w + b, all columns, wide; of int8 by the table b, in output quanta."""
    if x.dtype == torch.int8:
        return _fused(_product(x, w), b[1], b[0])
    return _product(x, w) + b.to(_wide(x).dtype)


def _product(x: Tensor, w: Tensor) -> Tensor:
    """Return x [M, K] @ w, all columns, wide."""
    return _wide(x) @ _wide(_turned(w)[: x.shape[1]])


def _turned(w: Tensor) -> Tensor:
    """View packed weights with their rows first: int8 has its columns first."""
    return w.transpose(-1, -2) if w.dtype == torch.int8 else w


def _fused(x: Tensor, scale: Tensor, y: Tensor) -> Tensor:
    """Return x * scale + y as float32 multiplies and adds at once; x is rounded to float32 before.

    float64 holds the product exactly, so that it rounds twice only where it makes no difference.
    """
    return (x.float().double() * scale.double() + y.double()).float().double()


def _added(x: Tensor, y: Tensor, b: Tensor, columns: int) -> Tensor:
    """Return x + y, wide, where b is a table of int8 x * ratio + y."""
    if b.ndim == 2:
        return _fused(x, b[2, :columns], y)
    return _wide(x) + _wide(y)


def _narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to nearest even in a dtype; int8 ends at -127 and 127."""
    return (x.round().clamp(-LARGEST, LARGEST) if dtype == torch.int8 else x).to(dtype)


def _nchw(x: Tensor, h: int, w: int) -> Tensor:
    return x.view(-1, h, w, x.shape[1]).permute(0, 3, 1, 2)


def _rows(x: Tensor) -> Tensor:
    """Make [N * H * W, C] of [N, C, H, W]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _wide(tensor: Tensor) -> Tensor:
    """Widen to what a kernel accumulates in, float32; keep float64, where the twin is exact.

    Sums of int8 are exact in float64.
    """
    return tensor.double() if tensor.dtype in (torch.float64, torch.int8) else tensor.float()
