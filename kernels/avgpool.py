"""This 2x2 average pooling of stride 2 stands before a `d` variant's projection.

As AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False): the mean over the pixels that exist.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import narrow, precision_of
from .op import Op
from .op_checks import halved
from .tiles import power_of_two

TILE = 4096  # elements that a program writes: [pixels, channels]


@triton.jit(do_not_specialize=["M"])
def avgpool_kernel(
    x_ptr, out_ptr, M,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, C: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Pool x [images * H * W, C] into out [M = images * HO * WO, C]; pixel x channel blocks."""
    BLOCKS: tl.constexpr = tl.cdiv(C, BLOCK_C)
    offs_m = tl.program_id(0) // BLOCKS * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(0) % BLOCKS * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = (offs_m < M)[:, None] & (c < C)[None, :]
    image, pixel = (offs_m // (HO * WO)).to(tl.int64), offs_m % (HO * WO)
    h, w = pixel // WO * 2, pixel % WO * 2
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            there = (h + i < H) & (w + j < W)
            source = (image * (H * W) + (h + i) * W + w + j) * C
            mask = inside & there[:, None]
            total += tl.load(x_ptr + source[:, None] + c[None, :], mask=mask, other=0.0).to(
                tl.float32
            )
    count = tl.minimum(H - h, 2) * tl.minimum(W - w, 2)  # [BLOCK_M] pixels that exist
    mean = total / count.to(tl.float32)[:, None]
    target = out_ptr + offs_m.to(tl.int64)[:, None] * C + c[None, :]
    tl.store(target, narrow(mean, out_ptr, PRECISION), mask=inside)


def avgpool(x: Tensor, out: Tensor, *, H: int, W: int) -> Calls:
    """Pool x [N * H * W, C] into out [N * Ho * Wo, C]; Ho = ceil(H / 2), Wo alike."""
    rows, c = out.shape
    block_c = min(256, power_of_two(c))
    block_m = TILE // block_c
    constants = {
        "H": H, "W": W, "HO": -(-H // 2), "WO": -(-W // 2), "C": c,
        "BLOCK_M": block_m, "BLOCK_C": block_c, "PRECISION": precision_of(out),
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "out_ptr": out, "M": rows}
    grid = -(-rows // block_m) * -(-c // block_c)
    return (Call(avgpool_kernel, grid, args, constants, 8),)


OP = Op(avgpool, halved, reads=("x",), writes=("out",), weights=())
