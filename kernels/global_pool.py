"""Global average pooling: one embedding an image."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Call, Calls
from .device import narrow, precision_of
from .tiles import power_of_two

BLOCK_P = 16  # pixels summed at a time
MAX_BLOCK_C = 256


@triton.jit
def global_pool_kernel(
    x_ptr, out_ptr,
    P: tl.constexpr, C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """x [images, P, C] -> out [images, C], summed in float32; images x channel blocks."""
    BLOCKS: tl.constexpr = tl.cdiv(C, BLOCK_C)
    n = (tl.program_id(0) // BLOCKS).to(tl.int64)
    c = tl.program_id(0) % BLOCKS * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.arange(0, BLOCK_P)
    source = x_ptr + (n * P + p)[:, None] * C + c[None, :]
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in tl.range(0, P, BLOCK_P):
        mask = (start + p < P)[:, None] & (c < C)[None, :]
        total += tl.load(source + start * C, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / P
    tl.store(out_ptr + n * C + c, narrow(mean, out_ptr, PRECISION), mask=c < C)


def global_pool(x: Tensor, out: Tensor) -> Calls:
    """x [N * P, C] -> out [N, C], the mean over an image's P pixels."""
    n, c = out.shape
    block_c = min(MAX_BLOCK_C, power_of_two(c))
    constants = {"P": x.shape[0] // max(n, 1), "C": c, "BLOCK_P": BLOCK_P, "BLOCK_C": block_c}
    constants["PRECISION"] = precision_of(out)
    grid = n * -(-c // block_c)
    return (Call(global_pool_kernel, grid, {"x_ptr": x, "out_ptr": out}, constants, 4),)
