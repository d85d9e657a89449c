"""This 3x3 max pooling of stride 2 lets NaN win, as PyTorch's does."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Arguments, Call, Calls
from .device import narrow
from .op import Op
from .op_checks import halved
from .tiles import power_of_two

TILE = 4096  # elements that a program writes: [pixels, channels]


@triton.jit(do_not_specialize=["M"])
def maxpool_kernel(
    x_ptr, out_ptr, M,
    H: tl.constexpr, W: tl.constexpr, HO: tl.constexpr, WO: tl.constexpr, C: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Pool x [images * H * W, C] into out [M = images * HO * WO, C]."""
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.arange(0, BLOCK_C)
    inside = (offs_m < M)[:, None] & (c < C)[None, :]
    image, pixel = (offs_m // (HO * WO)).to(tl.int64), offs_m % (HO * WO)
    h, w = pixel // WO * 2 - 1, pixel % WO * 2 - 1  # of the first tap
    best = tl.full((BLOCK_M, BLOCK_C), float("-inf"), tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            there = (h + i >= 0) & (h + i < H) & (w + j >= 0) & (w + j < W)
            source = (image * (H * W) + (h + i) * W + w + j) * C
            mask = inside & there[:, None]
            x = tl.load(x_ptr + source[:, None] + c[None, :], mask=mask, other=float("-inf"))
            best = tl.maximum(best, x.to(tl.float32), propagate_nan=tl.PropagateNan.ALL)
    target = out_ptr + offs_m.to(tl.int64)[:, None] * C + c[None, :]
    tl.store(target, narrow(best, out_ptr, "ieee"), mask=inside)  # one of them: exact


def maxpool(x: Tensor, out: Tensor, *, H: int, W: int) -> Calls:
    """Pool x [N * H * W, C] into out [N * Ho * Wo, C]; Ho = ceil(H / 2), Wo alike."""
    rows, c = out.shape
    block_c = power_of_two(c)
    block_m = max(1, TILE // block_c)
    constants = {
        "H": H, "W": W, "HO": -(-H // 2), "WO": -(-W // 2), "C": c,
        "BLOCK_M": block_m, "BLOCK_C": block_c,
    }  # fmt: skip
    args: Arguments = {"x_ptr": x, "out_ptr": out, "M": rows}
    return (Call(maxpool_kernel, -(-rows // block_m), args, constants, 8),)


OP = Op(maxpool, halved, reads=("x",), writes=("out",), weights=())
