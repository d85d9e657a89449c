"""The input, floats or bytes in any strides, becomes normalised, zero-padded NHWC.

image[pixel, c] = x[n, c, h, w] * scale[c] + shift[c]       # bytes: (x / 255 - mean) / std
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import narrow, precision_of
from .layout import PlanesLayout
from .op import Faults, Op
from .op_checks import shape
from .tiles import power_of_two

MAX_BLOCK = 256  # pixels that one program moves: of a line, or of several short ones


@triton.jit
def prepare_kernel(
    x_ptr, scale_ptr, shift_ptr, image_ptr,
    stride_n: tl.int64, stride_c, stride_h: tl.int64, stride_w,
    H: tl.constexpr, W: tl.constexpr, CI: tl.constexpr, C: tl.constexpr,
    FRONT: tl.constexpr, IMAGE_ROWS: tl.constexpr, PITCH: tl.constexpr,
    NORMALIZE: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Move x [N, CI, H, W] in its strides to image [rows, C]; images x tiles of pixels."""
    ACROSS: tl.constexpr = tl.cdiv(W, BLOCK_W)
    DOWN: tl.constexpr = tl.cdiv(H, BLOCK_H)
    tile = tl.program_id(0)
    n = (tile // ACROSS // DOWN).to(tl.int64)
    pixel = tl.arange(0, BLOCK_H * BLOCK_W)
    h = tile // ACROSS % DOWN * BLOCK_H + pixel // BLOCK_W
    w = tile % ACROSS * BLOCK_W + pixel % BLOCK_W
    c = tl.arange(0, BLOCK_C)
    inside = ((h < H) & (w < W))[:, None]
    # a stride of 1 is a constant to the compiler: contiguous pixels, or channels, load together
    source = x_ptr + n * stride_n + h[:, None] * stride_h
    offsets = w.to(tl.int64)[:, None] * stride_w + c.to(tl.int64)[None, :] * stride_c
    value = tl.load(source + offsets, mask=inside & (c < CI)[None, :], other=0).to(tl.float32)
    if NORMALIZE:
        scale = tl.load(scale_ptr + c, mask=c < CI, other=0.0)
        shift = tl.load(shift_ptr + c, mask=c < CI, other=0.0)
        value = value * scale[None, :] + shift[None, :]
    # lines start aligned (PlanesLayout.align), so 8 elements are one store
    start = tl.multiple_of((FRONT + n * IMAGE_ROWS + h * PITCH) * C, 8)
    target = image_ptr + (start + w * C)[:, None] + c[None, :]
    tl.store(target, narrow(value, image_ptr, PRECISION), mask=inside & (c < C)[None, :])


def prepare(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, image: Tensor, *, layout: PlanesLayout
) -> Calls:
    """Move x [N, Ci, H, W], floats or bytes in any strides, to image [1, rows, C] in the layout.

    scale, shift: [Ci] float32, or None to keep the values.
    """
    n, ci, h, w = x.shape
    block_w = min(MAX_BLOCK, power_of_two(w))
    block_h = min(MAX_BLOCK // block_w, power_of_two(h))
    constants = {
        "H": h, "W": w, "CI": ci, "C": layout.C, "FRONT": layout.front,
        "IMAGE_ROWS": layout.image_rows, "PITCH": layout.pitch, "NORMALIZE": scale is not None,
        "BLOCK_H": block_h, "BLOCK_W": block_w, "BLOCK_C": power_of_two(layout.C),
        "PRECISION": precision_of(image),
    }  # fmt: skip
    # without normalisation nothing reads scale and shift
    args: Arguments = {"x_ptr": x, "scale_ptr": image if scale is None else scale}
    args |= {"shift_ptr": image if shift is None else shift, "image_ptr": image}
    args |= {f"stride_{axis}": stride for axis, stride in zip("nchw", x.stride(), strict=True)}
    return (Call(prepare_kernel, n * -(-h // block_h) * -(-w // block_w), args, constants, 4),)


def contract(
    x: Tensor, scale: Tensor | None, shift: Tensor | None, image: Tensor, *, layout: PlanesLayout
) -> Faults:
    yield from shape("x", x, layout.N, None, layout.H, layout.W)
    yield from shape("image", image, 1, layout.rows, layout.C)
    if x.shape[1] > layout.C:
        yield f"x has {x.shape[1]} channels, the layout holds {layout.C}"
    if (scale is None) != (shift is None):
        yield "scale and shift must be given both, or neither"
    if scale is not None and shift is not None:
        yield from shape("scale", scale, x.shape[1])
        yield from shape("shift", shift, x.shape[1])


OP = Op(
    prepare, contract, reads=("x",), writes=("image",), weights=(), float32=("scale", "shift"),
    raw="x",
)  # fmt: skip
