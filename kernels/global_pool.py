"""Global average pooling makes one embedding per image."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .call import Call, Calls
from .device import narrow, precision_of
from .op import Faults, Op
from .op_checks import shape
from .tiles import power_of_two

BLOCK_P = 16  # pixels summed at a time
MAX_BLOCK_C = 256


@triton.jit
def global_pool_kernel(
    x_ptr, out_ptr,
    P: tl.constexpr, C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Average x [images, P, C] into out [images, C] in float32; images x channel blocks."""
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
    """Average x [N * P, C] over the P pixels of each image into out [N, C]."""
    n, c = out.shape
    block_c = min(MAX_BLOCK_C, power_of_two(c))
    constants = {
        "P": x.shape[0] // max(n, 1), "C": c, "BLOCK_P": BLOCK_P, "BLOCK_C": block_c,
        "PRECISION": precision_of(out),
    }  # fmt: skip
    grid = n * -(-c // block_c)
    return (Call(global_pool_kernel, grid, {"x_ptr": x, "out_ptr": out}, constants, 4),)


def contract(x: Tensor, out: Tensor) -> Faults:
    yield from shape("x", x, None, None)
    yield from shape("out", out, None, x.shape[1])
    images, rows = out.shape[0], x.shape[0]
    if rows % images if images else rows:
        yield f"x has {rows} rows, not as many for each of the {images} rows of out"


OP = Op(global_pool, contract, reads=("x",), writes=("out",), weights=())
