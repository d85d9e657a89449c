"""Bugs of order: races, missing waits and fences, deadlocks, values that nobody wrote."""

from __future__ import annotations

import re

import torch
import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from r2n_kernels.emulator import Kernel

from ..kinds.gluon import LOAD, tile
from ..kinds.registry import fresh, randn
from .registry import bug


@triton.jit
def accumulate_kernel(x_ptr, y_ptr, ATOMIC: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + offs)
    if ATOMIC:
        tl.atomic_add(y_ptr + offs, x)
    else:
        y = tl.load(y_ptr + offs)  # BUG not-atomic
        tl.store(y_ptr + offs, y + x)  # BUG not-atomic


@bug("not-atomic", r"y_ptr")
def not_atomic(there: bool):
    x, y = torch.randint(1, 9, (8, 128)).float(), torch.zeros(128)
    accumulate_kernel[(8,)](x, y, ATOMIC=not there, BLOCK=128)
    return y, x.sum(0), 0.0


@triton.jit
def overlap_kernel(x_ptr, y_ptr, STEP: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * STEP + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))
    tl.store(y_ptr + offs, x)  # BUG overlapping-programs


@bug("overlapping-programs", r"y_ptr")
def overlapping_programs(there: bool):
    x, y = randn(4, 64), fresh(256)
    overlap_kernel[(4,)](x, y, STEP=32 if there else 64, BLOCK=64, num_warps=1)
    return y, x.flatten(), 0.0


@triton.jit
def handshake_kernel(flag_ptr, x_ptr, y_ptr, SEM: tl.constexpr):
    if tl.program_id(0) == 0:
        tl.store(x_ptr, 42.0)
        tl.atomic_xchg(flag_ptr, 1, sem=SEM)
    else:
        while tl.atomic_add(flag_ptr, 0, sem="acquire") == 0:
            pass
        x = tl.load(x_ptr)  # BUG no-release
        tl.store(y_ptr, x)


@bug("no-release", r"x_ptr")
def no_release(there: bool):
    x, y, flag = torch.zeros(1), fresh(1), torch.zeros(1, dtype=torch.int32)
    handshake_kernel[(2,)](flag, x, y, SEM="relaxed" if there else "release")
    return y, [42.0], 0.0


@triton.jit
def lock_kernel(lock_ptr, y_ptr, RELEASE: tl.constexpr):
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:  # BUG lock-kept
        pass
    tl.store(y_ptr, tl.load(y_ptr) + 1)
    tl.debug_barrier()
    if RELEASE:
        tl.atomic_xchg(lock_ptr, 0)


@bug("lock-kept", r"(?i)wait|deadlock|steps")
def lock_kept(there: bool):
    y = torch.zeros(1)
    lock_kernel[(4,)](torch.zeros(1, dtype=torch.int32), y, RELEASE=not there, num_warps=1)
    return y, [4.0], 0.0


@triton.jit
def output_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n)
    y = tl.load(y_ptr + offs, mask=offs < n)  # BUG empty-output-read
    tl.store(y_ptr + offs, x + y, mask=offs < n)


@bug("empty-output-read", r"uninitialised.*y_ptr")
def empty_output(there: bool):
    x = randn(100)
    y = torch.empty(100) if there else torch.zeros(100)
    output_kernel[(1,)](x, y, 100, BLOCK=128)
    return y, x, 0.0


@gluon.jit
def shared_kernel(x_ptr, y_ptr, WRITTEN: gl.constexpr, N: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    offs = gl.arange(0, N, LAYOUT)
    smem = gl.allocate_shared_memory(gl.float32, [N], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    if WRITTEN:
        smem.store(gl.load(x_ptr + offs))
        gl.barrier()
    x = smem.load(LAYOUT)  # BUG shared-memory-not-written
    gl.store(y_ptr + offs, x)


@bug("shared-memory-not-written", r"uninitialised")
def shared_memory(there: bool):
    x, y = randn(128), fresh(128)
    shared_kernel[(1,)](x, y, WRITTEN=not there, N=128)
    return y, x, 0.0


@gluon.jit
def copy_kernel(x_ptr, y_ptr, KEEP: gl.constexpr, BARRIER: gl.constexpr, N: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([4], [32], [4], [0])
    offs = gl.arange(0, N, LAYOUT)
    ring = gl.allocate_shared_memory(gl.float32, [2, N], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    for s in gl.static_range(2):
        async_copy.async_load(ring.index(s), x_ptr + s * N + offs)
        async_copy.commit_group()
    async_copy.wait_group(KEEP)
    gl.barrier()
    x = ring.index(1).load(LAYOUT)  # BUG missing-cp-async-wait
    gl.store(y_ptr + offs, x)  # BUG missing-cp-async-wait


@bug("missing-cp-async-wait", r"race")
def missing_cp_async_wait(there: bool):
    x, y = randn(2, 512), fresh(512)
    copy_kernel[(1,)](x, y, KEEP=1 if there else 0, BARRIER=True, N=512)
    return y, x[1], 0.0


@gluon.jit
def tma_kernel(x_desc, y_ptr, WAIT: gl.constexpr, LAYOUT: gl.constexpr):
    smem = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_type.shape, x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.expect(bar, x_desc.block_type.nbytes)
    tma.async_load(x_desc, [0, 0], bar, smem)
    if WAIT:
        mbarrier.wait(bar, phase=0)
    x = smem.load(LAYOUT)  # BUG missing-mbarrier-wait
    gl.store(tile(y_ptr, 16, 32, LAYOUT), x)  # BUG missing-mbarrier-wait
    if not WAIT:
        mbarrier.wait(bar, phase=0)
    mbarrier.invalidate(bar)


@bug("missing-mbarrier-wait", r"race|uninitialised", arch=90)
def missing_mbarrier_wait(there: bool):
    x, y = randn(16, 32), fresh(16, 32)
    layout = gl.NVMMASharedLayout.get_default_for([16, 32], gl.float32)
    x_desc = TensorDescriptor.from_tensor(x, [16, 32], layout)
    blocked = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0])
    tma_kernel[(1,)](x_desc, y, WAIT=not there, LAYOUT=blocked)
    return y, x, 0.0


@gluon.jit
def never_kernel(x_ptr, y_ptr, PHASE: gl.constexpr, N: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.arrive(bar, count=1)
    mbarrier.wait(bar, phase=PHASE)  # BUG wrong-phase
    mbarrier.invalidate(bar)
    offs = gl.arange(0, N, LAYOUT)
    gl.store(y_ptr + offs, gl.load(x_ptr + offs))


@bug("wrong-phase", r"(?i)deadlock|wait", arch=90)
def wrong_phase(there: bool):
    x, y = randn(128), fresh(128)
    never_kernel[(1,)](x, y, PHASE=1 if there else 0, N=128)
    return y, x, 0.0


def without(pattern: str, kernel, *args, **constants) -> None:
    """Launch one program of what Triton compiles, lacking the PTX statements of a pattern.

    Triton puts barriers and fences where they are needed; so one that is missing is made here.
    """
    made = kernel.warmup(*args, grid=(1,), **constants)
    ptx, count = re.subn(pattern, "", made.asm["ptx"])
    if pattern and not count:
        raise ValueError(f"nothing in the PTX matches {pattern}")
    arguments = [a for a in args if isinstance(a, torch.Tensor)]
    Kernel(ptx, made.metadata.shared, made.metadata.num_warps).run((1,), arguments)


@gluon.jit
def fence_kernel(a_ptr, b_ptr, c_ptr, N: gl.constexpr, LAYOUT: gl.constexpr):
    SHARED: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    ACC: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, N, 16])
    a = gl.allocate_shared_memory(gl.float16, [N, N], SHARED, gl.load(tile(a_ptr, N, N, LAYOUT)))
    b = gl.allocate_shared_memory(gl.float16, [N, N], SHARED, gl.load(tile(b_ptr, N, N, LAYOUT)))
    fence_async_shared()
    gl.barrier()
    acc = warpgroup_mma(a, b, gl.zeros([N, N], gl.float32, ACC))  # BUG missing-proxy-fence
    gl.store(tile(c_ptr, N, N, ACC), acc)


@bug("missing-proxy-fence", r"proxy", arch=90)
def missing_proxy_fence(there: bool):
    a, b, c = randn(64, 64).half(), randn(64, 64).half(), fresh(64, 64)
    pattern = r"fence\.proxy\.async[^;]*;" if there else ""
    without(pattern, fence_kernel, a, b, c, N=64, LAYOUT=LOAD)
    return c, a.double() @ b.double(), 1e-4


@triton.jit
def flip_kernel(x_ptr, y_ptr, M: tl.constexpr, N: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(x_ptr + m[:, None] * N + n[None, :])
    tl.store(y_ptr + n[:, None] * M + m[None, :], tl.trans(x))  # BUG missing-barrier


@bug("missing-barrier", r"race|uninitialised")
def missing_barrier(there: bool):
    x, y = randn(32, 32), fresh(32, 32)
    without(r"bar\.sync[^;]*;" if there else "", flip_kernel, x, y, M=32, N=32)
    return y, x.t(), 0.0


@triton.jit
def assert_kernel(x_ptr, y_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.device_assert(x >= 0, "a count is negative")  # BUG failed-device-assert
    tl.store(y_ptr + tl.arange(0, N), x)


@bug("failed-device-assert", r"a count is negative")
def failed_assert(there: bool):
    x, y = torch.arange(64), fresh(64, dtype=torch.int64)
    if there:
        x[5] = -1
    assert_kernel[(1,)](x, y, N=64, debug=True)
    return y, x, 0.0
