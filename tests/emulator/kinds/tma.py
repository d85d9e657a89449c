"""Kernels that move tiles through tensor descriptors, made on the host or on the device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from .registry import construct, fresh, kind, randn


def allocate(size: int, alignment: int, stream: int | None) -> torch.Tensor:
    """Return scratch memory, in which a kernel builds its descriptors."""
    return torch.empty(size, dtype=torch.int8)


@triton.jit
def host_kernel(a_desc, b_desc, c_desc, K, M: tl.constexpr, N: tl.constexpr, BLOCK_K: tl.constexpr):
    m, n = tl.program_id(0) * M, tl.program_id(1) * N
    acc = tl.zeros((M, N), tl.float32)
    for k in range(0, K, BLOCK_K):
        acc = tl.dot(a_desc.load([m, k]), b_desc.load([k, n]), acc)
    c_desc.store([m, n], acc.to(tl.float16))


@kind("matmul, TMA (host descriptors)")
def host_descriptors():
    a, b = randn(128, 96, dtype=torch.float16), randn(96, 64, dtype=torch.float16)
    c = fresh(128, 64, dtype=torch.float16)
    descriptors = (
        TensorDescriptor.from_tensor(t, block) for t, block in ((a, [64, 32]), (b, [32, 64]),
                                                               (c, [64, 64]))
    )  # fmt: skip
    host_kernel[(2, 1)](*descriptors, 96, M=64, N=64, BLOCK_K=32)
    return c, a.double() @ b.double(), 2e-3


@triton.jit
def device_kernel(
    a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):  # fmt: skip
    a_desc = tl.make_tensor_descriptor(a_ptr, shape=[M, K], strides=[K, 1], block_shape=[BM, BK])
    b_desc = tl.make_tensor_descriptor(b_ptr, shape=[N, K], strides=[K, 1], block_shape=[BN, BK])
    c_desc = tl.make_tensor_descriptor(c_ptr, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    m, n = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        acc = tl.dot(a_desc.load([m, k]), b_desc.load([n, k]).T, acc)
    c_desc.store([m, n], acc.to(c_desc.dtype))


@kind("matmul, TMA (device descriptors)")
def device_descriptors():
    triton.set_allocator(allocate)
    a, b = randn(80, 64, dtype=torch.bfloat16), randn(64, 64, dtype=torch.bfloat16)
    c = fresh(80, 64, dtype=torch.bfloat16)
    device_kernel[(2, 1)](a, b, c, 80, 64, 64, BM=64, BN=64, BK=64)
    return c, a.double() @ b.double().t(), 2e-2


@kind("matmul, TMA fp8", archs=(90, 100, 120))
def fp8_descriptors():
    triton.set_allocator(allocate)
    a, b = (randn(64, 64).to(torch.float8_e4m3fn) for _ in range(2))
    c = fresh(64, 64, dtype=torch.float16)
    device_kernel[(1, 1)](a, b, c, 64, 64, 64, BM=64, BN=64, BK=64)
    return c, a.double() @ b.double().t(), 3e-2


@triton.jit
def persistent_tma_kernel(a_desc, b_desc, c_desc, M, N, K, SMS: tl.constexpr, B: tl.constexpr):
    columns = tl.cdiv(N, B)
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, B) * columns, SMS, flatten=True):
        m, n = tile // columns * B, tile % columns * B
        acc = tl.zeros((B, B), tl.float32)
        for k in range(0, K, B):
            acc = tl.dot(a_desc.load([m, k]), b_desc.load([n, k]).T, acc)
        c_desc.store([m, n], acc.to(tl.float16))


@kind("matmul, TMA persistent")
def persistent():
    a, b = randn(128, 128, dtype=torch.float16), randn(128, 128, dtype=torch.float16)
    c = fresh(128, 128, dtype=torch.float16)
    a_desc, b_desc, c_desc = (TensorDescriptor.from_tensor(t, [64, 64]) for t in (a, b, c))
    persistent_tma_kernel[(3,)](a_desc, b_desc, c_desc, 128, 128, 128, SMS=3, B=64)
    return c, a.double() @ b.double().t(), 2e-3


@triton.jit
def specialised_kernel(a_desc, b_desc, c_desc, K, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.program_id(0) * M, tl.program_id(1) * N
    acc = tl.zeros((M, N), tl.float32)
    for k in tl.range(0, K, N, warp_specialize=True, num_stages=2):
        acc = tl.dot(a_desc.load([m, k]), b_desc.load([n, k]).T, acc)
    c_desc.store([m, n], acc.to(tl.float16))


@kind(
    "matmul, TMA, automatic warp specialisation", archs=(80, 100, 120)
)  # Triton 3.8 fails for sm_90
def warp_specialised():
    a, b = randn(256, 192, dtype=torch.float16), randn(128, 192, dtype=torch.float16)
    c = fresh(256, 128, dtype=torch.float16)
    blocks = ((a, [128, 64]), (b, [64, 64]), (c, [128, 64]))
    descriptors = [TensorDescriptor.from_tensor(t, block) for t, block in blocks]
    specialised_kernel[(2, 2)](*descriptors, 192, M=128, N=64, num_warps=4)
    return c, a.double() @ b.double().t(), 2e-3


@triton.jit
def copy_kernel(x_desc, y_desc, SUM: tl.constexpr):
    tile = x_desc.load([tl.program_id(0) * 16, 0])
    if SUM:
        y_desc.atomic_add([0, 0], tile)
    else:
        y_desc.store([tl.program_id(0) * 16, 0], tile)


@construct("descriptor.load and .store, edges in zeros")
def descriptor_edges():
    x, y = randn(40, 24), fresh(40, 24)
    copy_kernel[(3,)](
        TensorDescriptor.from_tensor(x, [16, 32]), TensorDescriptor.from_tensor(y, [16, 32]), False
    )
    return y, x, 0.0


@construct("descriptor.atomic_add (TMA reduction)")
def descriptor_reduction():
    x, y = torch.randint(0, 9, (48, 32)).float(), torch.zeros(16, 32)
    x_desc, y_desc = (TensorDescriptor.from_tensor(t, [16, 32]) for t in (x, y))
    copy_kernel[(3,)](x_desc, y_desc, True)
    return y, x.reshape(3, 16, 32).sum(0), 0.0


@triton.jit
def three_dimensional_kernel(x_desc, y_desc):
    tile = x_desc.load([tl.program_id(0), 0, 0])
    y_desc.store([tl.program_id(0), 0, 0], tile * 2)


@construct("descriptors of rank 3")
def rank_three():
    x, y = randn(3, 8, 32), fresh(3, 8, 32)
    x_desc, y_desc = (TensorDescriptor.from_tensor(t, [1, 8, 32]) for t in (x, y))
    three_dimensional_kernel[(3,)](x_desc, y_desc)
    return y, x * 2, 0.0


@triton.jit
def gather_kernel(x_desc, rows_ptr, y_ptr, B: tl.constexpr, N: tl.constexpr):
    rows = tl.load(rows_ptr + tl.arange(0, B))
    tile = x_desc.gather(rows, 0)
    tl.store(y_ptr + tl.arange(0, B)[:, None] * N + tl.arange(0, N)[None, :], tile)


@construct("descriptor.gather", archs=(80, 100, 120))
def descriptor_gather():
    x, y = randn(40, 32), fresh(16, 32)
    rows = torch.randint(0, 40, (16,), dtype=torch.int32)
    gather_kernel[(1,)](TensorDescriptor.from_tensor(x, [1, 32]), rows, y, B=16, N=32)
    return y, x[rows], 0.0
