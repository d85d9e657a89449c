"""Constructs of control flow, of random numbers and debugging, and of launches from the host."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import construct, fresh, randn


@triton.jit
def loops_kernel(x_ptr, y_ptr, n, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for k in tl.static_range(3):
        total += tl.load(x_ptr + k * N + i)
    for k in tl.range(3, n, 2, num_stages=2, loop_unroll_factor=2):
        total += tl.load(x_ptr + k * N + i)
    k = n
    while k > 1:
        total -= 1
        k = k // 2
    tl.store(y_ptr + i, total)


@construct("static_range, range with stages, steps and unrolling, while")
def loops():
    x, y = randn(9, 128), fresh(128)
    loops_kernel[(1,)](x, y, 9, N=128)
    return y, x[[0, 1, 2, 3, 5, 7]].sum(0) - 3, 1e-5


@triton.jit
def branch_kernel(x_ptr, y_ptr, N: tl.constexpr, SQUARED: tl.constexpr):
    pid, i = tl.program_id(0), tl.arange(0, N)
    if pid == 3:
        return
    x = tl.load(x_ptr + pid * N + i)
    if tl.sum(x, 0) > 0:  # of data
        x = -x
    elif pid % 2 == 0:
        x = x * 2
    if SQUARED:
        x = x * x
    tl.store(y_ptr + pid * N + i, x)


@construct("if, elif and return, of data and of constants")
def branches():
    x, y = randn(5, 64), torch.zeros(5, 64)
    branch_kernel[(5,)](x, y, N=64, SQUARED=False)
    even = (torch.arange(5) % 2 == 0)[:, None]
    wanted = torch.where(x.sum(1, keepdim=True) > 0, -x, torch.where(even, 2 * x, x))
    wanted[3] = 0
    return y, wanted, 0.0


@triton.jit(noinline=True)
def not_inlined(x, y):
    return x * y + 1


@triton.jit
def call_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    scale = not_inlined(tl.load(x_ptr), 2.0)
    tl.store(y_ptr + i, x * scale)


@construct("functions that are not inlined")
def calls():
    x, y = randn(64), fresh(64)
    call_kernel[(1,)](x, y, N=64)
    return y, x * (2 * x[0] + 1), 1e-5


@triton.jit
def tuple_kernel(pointers, sizes, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for k in tl.static_range(len(sizes)):
        total += tl.load(pointers[k] + i, mask=i < sizes[k], other=0.0)
    tl.store(pointers[2] + i, total)


@construct("tuples as arguments")
def tuples():
    x, y, z = randn(64), randn(64), fresh(64)
    tuple_kernel[(1,)]((x, y, z), (64, 40), N=64)
    return z, x + torch.where(torch.arange(64) < 40, y, 0), 1e-6


@triton.jit
def random_kernel(y_ptr, seed, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, tl.rand(seed, i))
    tl.store(y_ptr + N + i, tl.randn(seed, i))
    a, b, _, _ = tl.randint4x(seed, i)
    tl.store(y_ptr + 2 * N + i, ((a ^ b) & 1).to(tl.float32))


@construct("tl.rand, tl.randn, tl.randint4x")
def randoms():
    y = fresh(3, 4096)
    random_kernel[(1,)](y, 7, N=4096)
    uniform, normal, coin = y
    in_range = ((uniform >= 0) & (uniform < 1)).all()
    figures = [uniform.mean(), uniform.std(), normal.mean(), normal.std(), coin.mean(), in_range]
    return torch.tensor([float(f) for f in figures]), [0.5, 12**-0.5, 0, 1, 0.5, 1], 0.05


@triton.jit
def debug_kernel(x_ptr, y_ptr, N: tl.constexpr):
    tl.static_assert(N == 32)
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.device_assert(x < 100, "too large")
    tl.device_print("sum:", tl.sum(x, 0))
    tl.debug_barrier()
    tl.store(y_ptr + tl.arange(0, N), x)


@construct("device_print, device_assert, static_assert, debug_barrier")
def debugging():
    x, y = randn(32), fresh(32)
    debug_kernel[(1,)](x, y, N=32, num_warps=1, debug=True)
    return y, x, 0.0


@triton.jit
def program_kernel(y_ptr):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    place = (z * tl.num_programs(1) + y) * tl.num_programs(0) + x
    row, column = tl.swizzle2d(x, y, tl.num_programs(0), tl.num_programs(1), 2)
    tl.store(y_ptr + place, 100 * z + 10 * row + column)


@construct("program_id, num_programs, swizzle2d")
def programs():
    y = fresh(2, 3, 4, dtype=torch.int32)
    program_kernel[(4, 3, 2)](y)
    x, row, z = torch.arange(4), torch.arange(3)[:, None], torch.arange(2)[:, None, None]
    index = x * 3 + row
    group = index // 6
    i, j = group * 2 + index % 6 % 2, index % 6 // 2
    return y, 100 * z + 10 * i + j, 0.0


@triton.autotune(
    [triton.Config({"BLOCK": 64}, num_warps=2), triton.Config({"BLOCK": 128}, num_warps=4)],
    key=["n"],
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def tuned_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        tl.store(y_ptr + offs, tl.load(x_ptr + offs) * 2)
    else:
        tl.store(y_ptr + offs, tl.load(x_ptr + offs, mask=offs < n) * 2, mask=offs < n)


@construct("@triton.autotune and @triton.heuristics, grid functions")
def tuned():
    answers = []
    for n in (512, 500):
        x, y = randn(n), fresh(n)
        tuned_kernel[lambda meta, n=n: (triton.cdiv(n, meta["BLOCK"]),)](x, y, n)
        answers.append((y, 2 * x, 0.0))
    return answers


@triton.jit
def arguments_kernel(x_ptr, bias_ptr, y_ptr, n, scale, flag, N: tl.constexpr, MODE: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0) * scale
    if bias_ptr is not None:
        x += tl.load(bias_ptr + i)
    if MODE == "negative":
        x = -x
    tl.store(y_ptr + i, tl.where(flag, x, 0.0))


@construct("arguments: None, bool, str, int 1, float, by keyword")
def arguments():
    x, bias, y, z = randn(64), randn(64), fresh(64), fresh(64)
    arguments_kernel[(1,)](x, None, y, 64, 1.5, True, N=64, MODE="negative")
    arguments_kernel[(1,)](
        N=64, MODE="", y_ptr=z, bias_ptr=bias, x_ptr=x, flag=True, scale=-2.0, n=1, num_warps=8
    )
    first = torch.arange(64) == 0
    return [(y, -1.5 * x, 1e-6), (z, torch.where(first, -2 * x, 0) + bias, 1e-6)]


@triton.jit
def warps_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y_ptr + i, tl.cumsum(tl.load(x_ptr + i), 0))


@construct("num_warps of 1 to 16")
def warps():
    x = torch.randint(0, 9, (512,))
    answers = []
    for count in (1, 2, 8, 16):
        y = fresh(512, dtype=torch.int64)
        warps_kernel[(1,)](x, y, N=512, num_warps=count)
        answers.append((y, x.cumsum(0), 0.0))
    return answers


@triton.jit
def half_kernel(x_ptr, y_ptr, scale: tl.float16, big: tl.int64, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i) * scale
    tl.store(y_ptr + i, x.to(tl.float32) + (big >> 33).to(tl.float32))


@construct("scalar parameters of 16 and 64 bits")
def scalar_types():
    x, y = randn(64), fresh(64)
    half_kernel[(1,)](x, y, 0.5, 1 << 35, N=64)
    return y, x * 0.5 + 4, 1e-5


@triton.jit
def timer_kernel(y_ptr):
    before = tl.extra.cuda.globaltimer()
    tl.store(y_ptr, (tl.extra.cuda.globaltimer() >= before).to(tl.int32))
    tl.store(y_ptr + 1, tl.extra.cuda.num_threads())


@construct("globaltimer, num_threads")
def timer():
    y = fresh(2, dtype=torch.int32)
    timer_kernel[(1,)](y, num_warps=2)
    return y, [1, 64], 0.0


@triton.jit
def dependent_kernel(x_ptr, y_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.extra.cuda.gdc_wait()
    x = tl.load(x_ptr + i)
    tl.extra.cuda.gdc_launch_dependents()
    tl.store(y_ptr + i, x + 1)


@construct("dependent launches (gdc_wait, launch_pdl)", archs=(90, 100, 120))
def dependent():
    x, y = randn(64), fresh(64)
    dependent_kernel[(1,)](x, y, N=64, launch_pdl=True)
    return y, x + 1, 0.0
