"""Bugs of addresses and arguments."""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from r2n_kernels.emulator.triton import compile_kernel

from ..kinds.registry import fresh, randn
from .registry import bug


@triton.jit
def mask_kernel(x_ptr, y_ptr, n, BUG: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    if BUG == "missing-mask":
        inside = offs >= 0
    if BUG == "off-by-one-mask":
        inside = offs <= n
    x = tl.load(x_ptr + offs, mask=offs < n)
    if BUG == "missing-mask":
        tl.store(y_ptr + offs, x, mask=inside)  # BUG missing-mask
    else:
        tl.store(y_ptr + offs, x, mask=inside)  # BUG off-by-one-mask


def masked(name: str):
    x, y = randn(100), fresh(100)
    mask_kernel[(1,)](x, y, 100, BUG=name, BLOCK=128)
    return y, x, 0.0


@bug("missing-mask", r"bounds.*y_ptr")
def missing_mask(there: bool):
    return masked("missing-mask" if there else "")


@bug("off-by-one-mask", r"bounds.*y_ptr")
def off_by_one_mask(there: bool):
    return masked("off-by-one-mask" if there else "")


@triton.jit
def rows_kernel(x_ptr, y_ptr, stride, n, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + offs, mask=offs < n)  # BUG wrong-stride
    tl.store(y_ptr + row * n + offs, x, mask=offs < n)


@bug("wrong-stride", r"bounds.*x_ptr")
def wrong_stride(there: bool):
    x, y = randn(5, 60), fresh(5, 60)
    rows_kernel[(5,)](x, y, 64 if there else 60, 60, BLOCK=64)
    return y, x, 0.0


@triton.jit(do_not_specialize=["start"])
def aligned_kernel(x_ptr, y_ptr, start, BLOCK: tl.constexpr):
    offs = tl.max_contiguous(tl.multiple_of(start + tl.arange(0, BLOCK), 4), 4)
    x = tl.load(x_ptr + offs)  # BUG false-hint
    tl.store(y_ptr + tl.arange(0, BLOCK), x)


@bug("false-hint", r"alignment.*x_ptr|alignment.*width 16")
def false_hint(there: bool):
    x, y = randn(600), fresh(512)
    start = 3 if there else 8
    aligned_kernel[(1,)](x, y, start, BLOCK=512)
    return y, x[start : start + 512], 0.0


@triton.jit
def overflow_kernel(x_ptr, y_ptr, stride, WIDE: tl.constexpr):
    row = tl.program_id(0)
    if WIDE:
        row = row.to(tl.int64)
    place = row * stride // 4096
    tl.store(y_ptr + tl.program_id(0), tl.load(x_ptr + place))  # BUG int32-overflow


@bug("int32-overflow", r"bounds.*x_ptr")
def int32_overflow(there: bool):
    x, y = randn(1 << 20), fresh(4)
    overflow_kernel[(4,)](x, y, 1 << 30, WIDE=not there)
    return y, x[:: 1 << 18], 0.0


@triton.jit
def table_kernel(table_ptr, y_ptr, N: tl.constexpr):
    x_ptr = tl.load(table_ptr + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    x = tl.load(x_ptr + tl.arange(0, N))  # BUG null-pointer
    tl.store(y_ptr + tl.program_id(0) * N + tl.arange(0, N), x)


@bug("null-pointer", r"(?i)null")
def null_pointer(there: bool):
    rows, y = [randn(32), randn(32)], fresh(2, 32)
    table = torch.tensor([row.data_ptr() for row in rows])
    if there:
        table[1] = 0
    table_kernel[(2,)](table, y, N=32)
    return y, torch.stack(rows), 0.0


@triton.jit
def lookup_kernel(table_ptr, id_ptr, y_ptr, N: tl.constexpr):
    row = tl.load(id_ptr + tl.program_id(0))
    x = tl.load(table_ptr + row * N + tl.arange(0, N))  # BUG index-beyond-the-table
    tl.store(y_ptr + tl.program_id(0) * N + tl.arange(0, N), x)


@bug("index-beyond-the-table", r"bounds.*table_ptr")
def index_beyond_the_table(there: bool):
    table, ids, y = randn(10, 32), torch.tensor([3, 9, 0]), fresh(3, 32)
    if there:
        ids[1] = 10
    lookup_kernel[(3,)](table, ids, y, N=32)
    return y, table[ids], 0.0


@triton.jit
def copy_kernel(x_desc, y_desc):
    row = tl.program_id(0) * 16
    y_desc.store([row, 0], x_desc.load([row, 0]))  # BUG descriptor-shape


@bug("descriptor-shape", r"bounds", arch=90)
def descriptor_shape(there: bool):
    x, y = randn(40, 32), fresh(48, 32)
    shape = [48 if there else 40, 32]
    x_desc = TensorDescriptor(x, shape, [32, 1], [16, 32])
    copy_kernel[(3,)](x_desc, TensorDescriptor.from_tensor(y, [16, 32]))
    return y, torch.cat([x, torch.zeros(8, 32)]), 0.0


@triton.jit
def scale_kernel(x_ptr, y_ptr, scale, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n)
    tl.store(y_ptr + offs, x * scale, mask=offs < n)


def scaled(x: np.ndarray, *more):
    """Launch the compiled kernel itself, without the host code that Triton would check."""
    types = {"x_ptr": "*fp32", "y_ptr": "*fp32", "scale": "fp32", "n": "i32", "BLOCK": "constexpr"}
    kernel = compile_kernel(scale_kernel, types, {"BLOCK": 64}, arch=80)
    y = np.full(50, np.nan, np.float32)
    kernel.run((1,), [x, y, 2.0, *more])
    return torch.from_numpy(y), 2 * torch.from_numpy(x), 0.0


@bug("wrong-dtype", r"float64|fp64")
def wrong_dtype(there: bool):
    return scaled(np.ones(50, np.float64 if there else np.float32), 50)


@bug("missing-argument", r"(?i)argument|parameter")
def missing_argument(there: bool):
    return scaled(np.ones(50, np.float32), *(() if there else (50,)))
