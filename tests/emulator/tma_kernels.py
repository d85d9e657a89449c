"""Kernels with tensor descriptors, clusters and small floats, for the tests' worker to compile."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    TensorMemoryScalesLayout,
    allocate_tensor_memory,
    clc,
    tcgen05_commit,
    tcgen05_copy,
    tcgen05_mma,
    tcgen05_mma_barrier_count,
    tcgen05_mma_scaled,
)
from triton.experimental.gluon.language.nvidia.blackwell import tma as rows_tma
from triton.experimental.gluon.language.nvidia.hopper import (
    cluster,
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)


@triton.jit
def host_kernel(
    a_desc, b_desc, c_desc, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    SPECIALIZE: tl.constexpr,
):  # fmt: skip
    m, n = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), tl.float32)
    for k in tl.range(0, K, BK, warp_specialize=SPECIALIZE):
        acc = tl.dot(a_desc.load([m, k]), b_desc.load([k, n]), acc)
    c_desc.store([m, n], acc.to(tl.float16))


@triton.jit
def device_kernel(
    a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):
    a_desc = tl.make_tensor_descriptor(a_ptr, [M, K], [K, 1], [BM, BK])
    b_desc = tl.make_tensor_descriptor(b_ptr, [K, N], [N, 1], [BK, BN])
    c_desc = tl.make_tensor_descriptor(c_ptr, [M, N], [N, 1], [BM, BN])
    m, n = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), tl.float32)
    for k in tl.range(0, K, BK):
        acc = tl.dot(a_desc.load([m, k]), b_desc.load([k, n]), acc)
    c_desc.store([m, n], acc.to(tl.float16))


@triton.jit
def softmax_kernel(x_ptr, y_ptr, R: tl.constexpr, C: tl.constexpr):
    """Softmax of columns, which CTAs of a cluster share, transposed."""
    r, c = tl.arange(0, R), tl.arange(0, C)
    x = tl.load(x_ptr + r[:, None] * C + c)
    tl.store(y_ptr + c[:, None] * R + r, tl.trans(tl.softmax(x)))


@triton.jit
def scaled_kernel(
    a_ptr, b_ptr, sa_ptr, sb_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    A: tl.constexpr, B: tl.constexpr, PA: tl.constexpr, PB: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    m, n, s = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K // GROUP)
    ka, kb = tl.arange(0, K // PA), tl.arange(0, K // PB)
    a = tl.load(a_ptr + m[:, None] * (K // PA) + ka)
    b = tl.load(b_ptr + kb[:, None] + n * (K // PB))
    sa = tl.load(sa_ptr + m[:, None] * (K // GROUP) + s)
    sb = tl.load(sb_ptr + n[:, None] * (K // GROUP) + s)
    tl.store(c_ptr + m[:, None] * N + n, tl.dot_scaled(a, sa, A, b, sb, B))


@gluon.jit
def _load(a_desc, b_desc, a, b, ready, empty, m, n, K, BK: gl.constexpr, S: gl.constexpr):
    i = 0
    phase = 1
    for k in range(0, K, BK):
        mbarrier.wait(empty.index(i), phase)
        mbarrier.expect(ready.index(i), a_desc.block_type.nbytes + b_desc.block_type.nbytes)
        tma.async_load(a_desc, [m, k], ready.index(i), a.index(i))
        tma.async_load(b_desc, [k, n], ready.index(i), b.index(i))
        i += 1
        if i == S:
            i = 0
            phase ^= 1


@gluon.jit
def _store(c_desc, x, m, n):
    c = gl.allocate_shared_memory(c_desc.dtype, c_desc.block_type.shape, c_desc.layout)
    c.store(x.to(c_desc.dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(c_desc, [m, n], c)
    tma.store_wait(pendings=0)


@gluon.jit
def _multiply_90(
    a, b, c_desc, ready, empty, m, n, K, BM: gl.constexpr, BN: gl.constexpr, BK: gl.constexpr,
    S: gl.constexpr,
):  # fmt: skip
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[gl.num_warps(), 1], instr_shape=[16, BN, 16]
    )
    acc = gl.zeros((BM, BN), gl.float32, layout)
    i = 0
    phase = 0
    for _ in range(0, K, BK):
        mbarrier.wait(ready.index(i), phase)
        acc = warpgroup_mma(a.index(i), b.index(i), acc, is_async=True)
        acc = warpgroup_mma_wait(num_outstanding=0, deps=(acc,))
        mbarrier.arrive(empty.index(i), count=1)
        i += 1
        if i == S:
            i = 0
            phase ^= 1
    _store(c_desc, acc, m, n)


@gluon.jit
def _multiply_100(acc, a, b, ready, empty, done, K, BK: gl.constexpr, S: gl.constexpr):
    i = 0
    phase = 0
    use = False
    for _ in range(0, K, BK):
        mbarrier.wait(ready.index(i), phase)
        tcgen05_mma(a.index(i), b.index(i), acc, use_acc=use, mbarriers=[empty.index(i)])
        use = True
        i += 1
        if i == S:
            i = 0
            phase ^= 1
    tcgen05_commit(done)


@gluon.jit
def _epilogue_100(acc, c_desc, done, m, n):
    mbarrier.wait(done, 0)
    _store(c_desc, acc.load(), m, n)


@gluon.jit
def specialised_kernel(
    a_desc, b_desc, c_desc, K, BM: gl.constexpr, BN: gl.constexpr, BK: gl.constexpr,
    S: gl.constexpr, TENSOR_MEMORY: gl.constexpr,
):  # fmt: skip
    a = gl.allocate_shared_memory(a_desc.dtype, [S, BM, BK], a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, [S, BK, BN], b_desc.layout)
    ready = mbarrier.allocate_mbarrier(batch=S)
    empty = mbarrier.allocate_mbarrier(batch=S)
    for i in gl.static_range(S):
        mbarrier.init(ready.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    m = gl.program_id(0) * BM
    n = gl.program_id(1) * BN
    if TENSOR_MEMORY:
        done = mbarrier.allocate_mbarrier()
        mbarrier.init(done, count=1)
        acc = allocate_tensor_memory(
            gl.float32, [BM, BN], TensorMemoryLayout([BM, BN], col_stride=1)
        )
        gl.warp_specialize(
            [
                (_epilogue_100, (acc, c_desc, done, m, n)),
                (_load, (a_desc, b_desc, a, b, ready, empty, m, n, K, BK, S)),
                (_multiply_100, (acc, a, b, ready, empty, done, K, BK, S)),
            ],
            [1, 1],
            [24, 24],
        )
    else:
        gl.warp_specialize(
            [
                (_multiply_90, (a, b, c_desc, ready, empty, m, n, K, BM, BN, BK, S)),
                (_load, (a_desc, b_desc, a, b, ready, empty, m, n, K, BK, S)),
            ],
            [1],
            [24],
        )


@gluon.jit
def multicast_kernel(x_desc, y_desc):
    """Every CTA of the cluster gets the whole tile by one load."""
    s = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_type.shape, x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.fence_init_release_cluster()
    cluster.barrier(relaxed=True)
    mbarrier.expect(bar, x_desc.nbytes_per_cta)
    tma.async_load(x_desc, [0, 0], bar, s, multicast=True)
    mbarrier.wait(bar, 0, deps=[s])
    mbarrier.invalidate(bar)
    tma.async_copy_shared_to_global(y_desc, [0, 0], s)
    tma.store_wait(pendings=0)


@gluon.jit
def pair_kernel(a_desc, b_desc, c_desc, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr):
    """Two CTAs share a product: each has half of A's rows and half of B's columns."""
    a = gl.allocate_shared_memory(a_desc.dtype, [M, K], a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, [K, N], b_desc.layout)
    loaded = mbarrier.allocate_mbarrier(two_ctas=True)
    done = mbarrier.allocate_mbarrier()
    mbarrier.init(loaded, count=1)
    mbarrier.init(done, count=1)
    mbarrier.fence_init_release_cluster()
    cluster.barrier(relaxed=True)
    mbarrier.expect(loaded, a_desc.nbytes_per_cta + b_desc.nbytes_per_cta)
    tma.async_load(a_desc, [0, 0], loaded, a)
    tma.async_load(b_desc, [0, 0], loaded, b)
    mbarrier.wait(loaded, phase=0, deps=[a, b])
    mbarrier.invalidate(loaded)
    layout: gl.constexpr = TensorMemoryLayout(
        [M // 2, N], col_stride=1, cga_layout=[[1, 0]], two_ctas=True
    )
    acc = allocate_tensor_memory(gl.float32, [M, N], layout)
    tcgen05_mma(a, b, acc, use_acc=False, mbarriers=[done])
    mbarrier.wait(done, phase=0, deps=[a, b])
    mbarrier.invalidate(done)
    _store(c_desc, acc.load(), 0, 0)


@gluon.jit
def _load_shared(a_desc, b_desc, a, b, ready, empty, K, BK: gl.constexpr, S: gl.constexpr):
    i = 0
    phase = 1
    for k in range(0, K, BK):
        mbarrier.wait(empty.index(i), phase)
        mbarrier.expect(ready.index(i), a_desc.nbytes_per_cta + b_desc.nbytes_per_cta)
        tma.async_load(a_desc, [0, k], ready.index(i), a.index(i), multicast=True)
        tma.async_load(b_desc, [k, 0], ready.index(i), b.index(i), multicast=True)
        i += 1
        if i == S:
            i = 0
            phase ^= 1


@gluon.jit
def _multiply_shared(acc, a, b, ready, empty, done, K, BK: gl.constexpr, S: gl.constexpr):
    i = 0
    phase = 0
    use = False
    for _ in range(0, K, BK):
        mbarrier.wait(ready.index(i), phase)
        tcgen05_mma(
            a.index(i), b.index(i), acc, use_acc=use, multicast=True, mbarriers=[empty.index(i)]
        )
        use = True
        i += 1
        if i == S:
            i = 0
            phase ^= 1
    tcgen05_commit(done, descs=[a.index(0), b.index(0)])


@gluon.jit
def cluster_kernel(
    a_desc, b_desc, c_desc, K, M: gl.constexpr, N: gl.constexpr, BK: gl.constexpr,
    S: gl.constexpr, BM: gl.constexpr, BN: gl.constexpr, PARTS: gl.constexpr,
    PAIRS: gl.constexpr,
):  # fmt: skip
    """CTAs of a cluster share the tiles that they load, and release them to each other."""
    a = gl.allocate_shared_memory(a_desc.dtype, [S, M, BK], a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, [S, BK, N], b_desc.layout)
    ready = mbarrier.allocate_mbarrier(batch=S, two_ctas=PAIRS)
    empty = mbarrier.allocate_mbarrier(batch=S)
    done = mbarrier.allocate_mbarrier()
    count: gl.constexpr = tcgen05_mma_barrier_count([a, b], True, PAIRS)
    for i in gl.static_range(S):
        mbarrier.init(ready.index(i), count=1)
        mbarrier.init(empty.index(i), count=count)
    mbarrier.init(done, count=count)
    layout: gl.constexpr = TensorMemoryLayout(
        [BM, BN], col_stride=1, cga_layout=PARTS, two_ctas=PAIRS
    )
    acc = allocate_tensor_memory(gl.float32, [M, N], layout)
    gl.warp_specialize(
        [
            (_epilogue_100, (acc, c_desc, done, 0, 0)),
            (_load_shared, (a_desc, b_desc, a, b, ready, empty, K, BK, S)),
            (_multiply_shared, (acc, a, b, ready, empty, done, K, BK, S)),
        ],
        [1, 1],
        [24, 24],
    )


@gluon.jit
def rows_kernel(x_desc, i_ptr, y_desc, column, R: gl.constexpr):
    """Gather rows of x, and scatter them into every second row of y."""
    layout: gl.constexpr = gl.SliceLayout(
        0, gl.BlockedLayout([1, 4], [32, 1], [1, gl.num_warps()], [1, 0])
    )
    rows = gl.load(i_ptr + gl.arange(0, R, layout=layout))
    s = gl.allocate_shared_memory(x_desc.dtype, [R, x_desc.block_type.shape[1]], x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.expect(bar, R * x_desc.block_type.nbytes)
    rows_tma.async_gather(x_desc, rows, column, bar, s)
    mbarrier.wait(bar, 0)
    mbarrier.invalidate(bar)
    rows_tma.async_scatter(y_desc, gl.arange(0, R, layout=layout) * 2, column, s)
    tma.store_wait(pendings=0)


@gluon.jit
def stealing_kernel(x_ptr, y_ptr, BLOCK: gl.constexpr):
    """Programs take over the blocks of those that have not begun."""
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [gl.num_warps()], [0])
    answer = gl.allocate_shared_memory(gl.int64, [2], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    block = gl.program_id(0)
    more = True
    phase = 0
    while more:
        mbarrier.expect(bar, 16)
        clc.try_cancel(answer, bar)
        at = block * BLOCK + gl.arange(0, BLOCK, layout=layout)
        gl.store(y_ptr + at, gl.load(x_ptr + at) + 1)
        mbarrier.wait(bar, phase)
        result = clc.load_result(answer)
        more = result.is_canceled()
        block = result.program_id(0)
        phase ^= 1
    mbarrier.invalidate(bar)


@gluon.jit
def sum_kernel(x_desc, y_desc, BLOCK: gl.constexpr):
    """Every program adds its tile of x to y, by reductions of TMA."""
    s = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_type.shape, x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.expect(bar, x_desc.block_type.nbytes)
    tma.async_load(x_desc, [gl.program_id(0) * BLOCK, 0], bar, s)
    mbarrier.wait(bar, 0)
    mbarrier.invalidate(bar)
    tma.async_atomic_add(y_desc, [0, 0], s)
    tma.store_wait(pendings=0)


@gluon.jit
def _scales_of(s_ptr, rows: gl.constexpr, columns: gl.constexpr):
    """Bring scales packed as [rows // 128, columns // 4, 32, 4, 4] to shared memory, in place."""
    plain: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=8, rank=2)
    layout: gl.constexpr = gl.BlockedLayout([1, 16], [32, 1], [gl.num_warps(), 1], [1, 0])
    r = gl.arange(0, rows * columns // 128, layout=gl.SliceLayout(1, layout))
    q = gl.arange(0, 128, layout=gl.SliceLayout(0, layout))
    s = gl.allocate_shared_memory(gl.uint8, [rows * columns // 128, 128], plain)
    s.store(gl.load(s_ptr + r[:, None] * 128 + q[None, :]))
    blocks = s.reshape((rows // 128, columns // 4, 32, 4, 4)).permute((0, 3, 2, 1, 4))
    return blocks.reshape((rows, columns))


@gluon.jit
def copied_scales_kernel(
    a_desc, b_desc, sa_ptr, sb_ptr, c_ptr, M: gl.constexpr, N: gl.constexpr, K: gl.constexpr,
    A: gl.constexpr, B: gl.constexpr,
):  # fmt: skip
    a = gl.allocate_shared_memory(a_desc.dtype, a_desc.block_type.shape, a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, b_desc.block_type.shape, b_desc.layout)
    loaded = mbarrier.allocate_mbarrier()
    done = mbarrier.allocate_mbarrier()
    mbarrier.init(loaded, count=1)
    mbarrier.init(done, count=1)
    mbarrier.expect(loaded, a_desc.block_type.nbytes + b_desc.block_type.nbytes)
    tma.async_load(a_desc, [0, 0], loaded, a)
    tma.async_load(b_desc, [0, 0], loaded, b)
    mbarrier.wait(loaded, 0)
    sa = _scales_of(sa_ptr, M, K // 32)
    sb = _scales_of(sb_ptr, N, K // 32)
    fence_async_shared()
    layout: gl.constexpr = TensorMemoryScalesLayout()
    scales_a = allocate_tensor_memory(gl.uint8, [M, K // 32], layout)
    scales_b = allocate_tensor_memory(gl.uint8, [N, K // 32], layout)
    tcgen05_copy(sa, scales_a)
    tcgen05_copy(sb, scales_b)
    acc = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    tcgen05_mma_scaled(a, b.permute((1, 0)), acc, scales_a, scales_b, A, B, use_acc=False)
    tcgen05_commit(done)
    mbarrier.wait(done, 0)
    x = acc.load()
    out: gl.constexpr = acc.get_reg_layout()
    m = gl.arange(0, M, layout=gl.SliceLayout(1, out))
    n = gl.arange(0, N, layout=gl.SliceLayout(0, out))
    gl.store(c_ptr + m[:, None] * N + n[None, :], x)


@gluon.jit
def shapes_kernel(
    x_ptr, y_ptr, M: gl.constexpr, N: gl.constexpr, STORE: gl.constexpr, LOAD: gl.constexpr
):
    """Copy x to y through tensor memory, by instructions of two shapes."""
    memory = allocate_tensor_memory(gl.float32, [M, N], TensorMemoryLayout([M, N], col_stride=1))
    to: gl.constexpr = memory.get_reg_layout(instr_variant=STORE)
    back: gl.constexpr = memory.get_reg_layout(instr_variant=LOAD)
    m = gl.arange(0, M, layout=gl.SliceLayout(1, to))
    n = gl.arange(0, N, layout=gl.SliceLayout(0, to))
    memory.store(gl.load(x_ptr + m[:, None] * N + n[None, :]))
    x = memory.load(back)
    i = gl.arange(0, M, layout=gl.SliceLayout(1, back))
    j = gl.arange(0, N, layout=gl.SliceLayout(0, back))
    gl.store(y_ptr + i[:, None] * N + j[None, :], x)


DTYPES = {"fp16": gl.float16, "fp32": gl.float32, "u8": gl.uint8, "fp8e4nv": gl.float8e4nv}


def descriptor_type(
    dtype: str, block: list[int], cga: list[list[int]] | None, swizzled: list[int],
    padded: bool = False,
):  # fmt: skip
    """The type of a host's descriptor of Gluon's. swizzled: the shape that the layout is for."""
    layout = gl.NVMMASharedLayout.get_default_for(swizzled, DTYPES[dtype])
    if padded:  # elements of 4 bits, each in a byte's place
        layout = gl.NVMMASharedLayout(
            swizzle_byte_width=128, element_bitwidth=8, rank=2, fp4_padded=True
        )
    if cga is not None:
        layout = gl.NVMMASharedLayout(
            swizzle_byte_width=128, element_bitwidth=16, rank=2, cga_layout=cga
        )
    return f"tensordesc<{dtype}[{','.join(map(str, block))}],{layout!r}>"


def build(
    *, function: str, signature: dict[str, Any], constants: dict[str, Any], arch: int, **options
) -> tuple:
    """(PTX, shared memory, warps, scratch memory, what the launcher is told of descriptors)."""
    kernel = globals()[f"{function}_kernel"]
    types = {
        name: t if isinstance(t, str) else descriptor_type(*t) for name, t in signature.items()
    }
    types |= dict.fromkeys(constants, "constexpr")
    kind = GluonASTSource if kernel.is_gluon() else ASTSource
    source = kind(kernel, {name: types[name] for name in kernel.arg_names}, constants, {})
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    meta = made.metadata
    return (
        made.asm["ptx"], meta.shared, meta.num_warps, meta.global_scratch_size,
        meta.tensordesc_meta,
    )  # fmt: skip
