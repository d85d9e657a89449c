"""Gluon kernels, whose layouts, copies and barriers are in the open."""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy, mma_v2
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    allocate_tensor_memory,
    tcgen05_mma,
)
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from .registry import construct, fresh, kind, randn


@gluon.jit
def tile(ptr, ROWS: gl.constexpr, COLUMNS: gl.constexpr, LAYOUT: gl.constexpr):
    """Return pointers to a row-major tile."""
    r = gl.arange(0, ROWS, gl.SliceLayout(1, LAYOUT))
    c = gl.arange(0, COLUMNS, gl.SliceLayout(0, LAYOUT))
    return ptr + r[:, None] * COLUMNS + c[None, :]


@gluon.jit
def wgmma_kernel(
    a_ptr, b_ptr, c_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr, LOAD: gl.constexpr
):  # fmt: skip
    SHARED: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    ACC: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, N, 16])
    a = gl.allocate_shared_memory(gl.float16, [M, K], SHARED, gl.load(tile(a_ptr, M, K, LOAD)))
    b = gl.allocate_shared_memory(gl.float16, [K, N], SHARED, gl.load(tile(b_ptr, K, N, LOAD)))
    fence_async_shared()
    gl.barrier()
    acc = gl.zeros([M, N], gl.float32, ACC)
    token = warpgroup_mma(a, b, acc, is_async=True)
    acc = warpgroup_mma_wait(0, deps=[token])
    gl.store(tile(c_ptr, M, N, ACC), acc)


LOAD = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])


@kind("Gluon matmul, wgmma", archs=(90,))
def wgmma():
    a, b, c = randn(64, 64).half(), randn(64, 64).half(), fresh(64, 64)
    wgmma_kernel[(1,)](a, b, c, M=64, N=64, K=64, LOAD=LOAD)
    return c, a.double() @ b.double(), 1e-4


@gluon.jit
def tcgen05_kernel(
    a_ptr, b_ptr, c_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr, LOAD: gl.constexpr
):  # fmt: skip
    SHARED: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    TENSOR: gl.constexpr = TensorMemoryLayout([M, N], col_stride=1)
    a = gl.allocate_shared_memory(gl.float16, [M, K], SHARED, gl.load(tile(a_ptr, M, K, LOAD)))
    b = gl.allocate_shared_memory(gl.float16, [K, N], SHARED, gl.load(tile(b_ptr, K, N, LOAD)))
    fence_async_shared()
    acc = allocate_tensor_memory(gl.float32, [M, N], TENSOR)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    tcgen05_mma(a, b, acc, use_acc=False, mbarriers=[bar])
    mbarrier.wait(bar, phase=0, deps=[a, b])
    mbarrier.invalidate(bar)
    LAYOUT: gl.constexpr = acc.get_reg_layout()
    gl.store(tile(c_ptr, M, N, LAYOUT), acc.load(LAYOUT))


@kind("Gluon matmul, tcgen05", archs=(100,))
def tcgen05():
    a, b, c = randn(128, 64).half(), randn(64, 64).half(), fresh(128, 64)
    tcgen05_kernel[(1,)](a, b, c, M=128, N=64, K=64, LOAD=LOAD)
    return c, a.double() @ b.double(), 1e-4


@gluon.jit
def pipeline_kernel(
    x_ptr, y_ptr, steps, N: gl.constexpr, STAGES: gl.constexpr, LAYOUT: gl.constexpr
):  # fmt: skip
    ring = gl.allocate_shared_memory(gl.float32, [STAGES, N], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    offs = gl.arange(0, N, LAYOUT)
    for s in gl.static_range(STAGES - 1):
        async_copy.async_load(ring.index(s), x_ptr + s * N + offs, mask=offs * 0 + s < steps)
        async_copy.commit_group()
    total = gl.zeros([N], gl.float32, LAYOUT)
    for s in range(steps):
        async_copy.wait_group(STAGES - 2)
        gl.barrier()
        total += ring.index(s % STAGES).load(LAYOUT)
        ahead = s + STAGES - 1
        async_copy.async_load(
            ring.index(ahead % STAGES), x_ptr + ahead * N + offs, mask=offs * 0 + ahead < steps
        )
        async_copy.commit_group()
    gl.store(y_ptr + offs, total)


@kind("Gluon pipeline of cp.async")
def pipeline():
    x, y = randn(7, 256), fresh(256)
    layout = gl.BlockedLayout([2], [32], [4], [0])
    pipeline_kernel[(1,)](x, y, 7, N=256, STAGES=3, LAYOUT=layout)
    return y, x.sum(0), 1e-5


@gluon.jit
def mma_kernel(a_ptr, b_ptr, c_ptr, N: gl.constexpr, LOAD: gl.constexpr):
    ACC: gl.constexpr = gl.NVMMADistributedLayout([2, 0], [2, 2], [16, 8])
    a = gl.convert_layout(gl.load(tile(a_ptr, N, N, LOAD)), gl.DotOperandLayout(0, ACC, 2))
    b = gl.convert_layout(gl.load(tile(b_ptr, N, N, LOAD)), gl.DotOperandLayout(1, ACC, 2))
    gl.store(tile(c_ptr, N, N, ACC), mma_v2(a, b, gl.zeros([N, N], gl.float32, ACC)))


@kind("Gluon matmul, mma.sync")
def mma():
    a, b, c = randn(32, 32).half(), randn(32, 32).half(), fresh(32, 32)
    mma_kernel[(1,)](a, b, c, N=32, LOAD=LOAD)
    return c, a.double() @ b.double(), 1e-4


@gluon.jit
def tma_kernel(x_desc, y_desc, ROWS: gl.constexpr):
    smem = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_type.shape, x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    for i in range(2):
        row = (gl.program_id(0) * 2 + i) * ROWS
        mbarrier.expect(bar, x_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(x_desc, [row, 0], bar, smem)
        mbarrier.wait(bar, phase=i)
        tma.async_copy_shared_to_global(y_desc, [row, 0], smem)
        tma.store_wait(0)
    mbarrier.invalidate(bar)


@kind("Gluon copy by TMA and mbarriers", archs=(90, 100, 120))
def tma_copy():
    x, y = randn(64, 32), fresh(64, 32)
    layout = gl.NVMMASharedLayout.get_default_for([16, 32], gl.float32)
    x_desc, y_desc = (TensorDescriptor.from_tensor(t, [16, 32], layout) for t in (x, y))
    tma_kernel[(2,)](x_desc, y_desc, ROWS=16, num_warps=1)
    return y, x, 0.0


@gluon.jit
def producer(x_ptr, ring, full, empty, steps, N: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([4], [32], [1], [0])
    offs = gl.arange(0, N, LAYOUT)
    for s in range(steps):
        mbarrier.wait(empty.index(s % 2), (s // 2 % 2) ^ 1)
        ring.index(s % 2).store(gl.load(x_ptr + s * N + offs))
        mbarrier.arrive(full.index(s % 2), count=1)


@gluon.jit
def consumer(y_ptr, ring, full, empty, steps, N: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    total = gl.zeros([N], gl.float32, LAYOUT)
    for s in range(steps):
        mbarrier.wait(full.index(s % 2), s // 2 % 2)
        total += ring.index(s % 2).load(LAYOUT)
        mbarrier.arrive(empty.index(s % 2), count=1)
    gl.store(y_ptr + gl.arange(0, N, LAYOUT), total)


@gluon.jit
def specialised_kernel(x_ptr, y_ptr, steps, N: gl.constexpr):
    ring = gl.allocate_shared_memory(gl.float32, [2, N], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    full, empty = mbarrier.allocate_mbarrier(batch=2), mbarrier.allocate_mbarrier(batch=2)
    for i in gl.static_range(2):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    gl.warp_specialize(
        [
            (consumer, (y_ptr, ring, full, empty, steps, N)),
            (producer, (x_ptr, ring, full, empty, steps, N)),
        ],
        [1],
    )


@kind("Gluon warp specialisation (producer and consumer)", archs=(90, 100, 120))
def specialised():
    x, y = randn(5, 128), fresh(128)
    specialised_kernel[(1,)](x, y, 5, N=128)
    return y, x.sum(0), 1e-5


@gluon.jit
def convert_kernel(x_ptr, y_ptr, A: gl.constexpr, B: gl.constexpr):
    x = gl.load(tile(x_ptr, 32, 64, A))
    gl.store(tile(y_ptr, 32, 64, B), gl.convert_layout(x, B) * 2)


@construct("gl.convert_layout")
def convert():
    x, y = randn(32, 64), fresh(32, 64)
    rows = gl.BlockedLayout([1, 4], [2, 16], [4, 1], [1, 0])
    columns = gl.BlockedLayout([4, 1], [8, 4], [1, 4], [0, 1])
    convert_kernel[(1,)](x, y, A=rows, B=columns)
    return y, x * 2, 0.0


@gluon.jit
def permute_kernel(x_ptr, y_ptr, LAYOUT: gl.constexpr, SHARED: gl.constexpr):
    smem = gl.allocate_shared_memory(gl.float32, [32, 32], SHARED)
    smem.store(gl.load(tile(x_ptr, 32, 32, LAYOUT)))
    gl.barrier()
    gl.store(tile(y_ptr, 32, 32, LAYOUT), smem.permute((1, 0)).load(LAYOUT))


@construct("gl.allocate_shared_memory, swizzled and padded layouts")
def shared_layouts():
    layout = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0])
    every = [gl.SwizzledSharedLayout(1, 1, 1, [1, 0]), gl.SwizzledSharedLayout(4, 1, 8, [1, 0])]
    answers = []
    for shared in every:
        x, y = randn(32, 32), fresh(32, 32)
        permute_kernel[(1,)](x, y, LAYOUT=layout, SHARED=shared)
        answers.append((y, x.t(), 0.0))
    return answers
