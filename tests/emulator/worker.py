"""Compiles Triton kernels for the tests, in a process whose kernels are not interpreted.

Reads pickled (name of a function here, its keyword arguments) and answers with (PTX, bytes of
shared memory, warps), or with the exception.
"""

from __future__ import annotations

import pickle
import sys

import control_kernels
import race_kernels
import tma_kernels
import torch
import triton
import triton.language as tl
from triton.language.extra import cuda

from r2n_kernels.emulator.triton import compile_kernel
from r2n_kernels.kernels.layout import PlanesLayout
from r2n_kernels.kernels.stage import stage as launch_stage
from r2n_kernels.kernels.tiles import TileConfig

ALIGNED = [["tt.divisibility", 16]]
NAMES = {torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32"}


@triton.jit
def gemm_kernel(
    a_ptr, b_ptr, c_ptr, M, N: tl.constexpr, K: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    A_COLUMNS: tl.constexpr, B_COLUMNS: tl.constexpr, STAGES: tl.constexpr, ACC: tl.constexpr,
    RELU: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_k = tl.arange(0, BLOCK_K)
    inside = (rows < M)[:, None]
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for k0 in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        k = k0 + offs_k
        if A_COLUMNS:  # stored by columns
            a = tl.load(a_ptr + rows[:, None] + k[None, :] * M, mask=inside, other=0.0)
        else:
            a = tl.load(a_ptr + rows[:, None] * K + k[None, :], mask=inside, other=0.0)
        if B_COLUMNS:
            b = tl.load(b_ptr + columns[None, :] * K + k[:, None])
        else:
            b = tl.load(b_ptr + columns[None, :] + k[:, None] * N)
        if RELU:  # takes A through registers
            a = tl.maximum(a, 0.0).to(b.dtype)
        acc = tl.dot(a, b, acc, out_dtype=ACC, input_precision=PRECISION)
    out = acc.to(c_ptr.dtype.element_ty)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], out, mask=inside)


@triton.jit
def softmax_kernel(x_ptr, y_ptr, n, C: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr):
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLUMNS)
    inside = (r < n)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=float("-inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 1)[:, None])
    y = (e / tl.sum(e, 1)[:, None]).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + at, y, mask=inside)


@triton.jit
def scan_kernel(x_ptr, y_ptr, z_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    r, c = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    x = tl.load(x_ptr + r[:, None] * COLUMNS + c[None, :])
    tl.store(y_ptr + r[:, None] * COLUMNS + c[None, :], tl.cumsum(x, 1))
    tl.store(z_ptr + c[:, None] * ROWS + r[None, :], tl.trans(x))


@triton.jit
def histogram_kernel(x_ptr, count_ptr, sum_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int32)
    tl.atomic_add(count_ptr + x, 1)
    tl.atomic_add(sum_ptr + x, x.to(tl.float32))


@triton.jit
def column_sum_kernel(x_ptr, sum_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    r, c = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    tl.store(sum_ptr + c, tl.sum(tl.load(x_ptr + r[:, None] * COLUMNS + c[None, :]), 0))


@triton.jit
def uneven_kernel(x_ptr, y_ptr, counts_ptr, BLOCK: tl.constexpr):
    """Every program sums another number of blocks, and odd ones square the sum."""
    pid = tl.program_id(0)
    c = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for i in range(tl.load(counts_ptr + pid)):
        acc += tl.load(x_ptr + i * BLOCK + c)
    total = tl.sum(acc, 0)
    if pid % 2 == 1:
        total = total * total
    tl.store(y_ptr + pid, total)


def named(name: str):
    """Return a kernel of this file, or of the files of kernels."""
    modules = (race_kernels, control_kernels)
    return globals().get(name) or next(getattr(m, name) for m in modules if hasattr(m, name))


def kernel(
    *, function: str, signature: dict, constants: dict, arch: int, num_warps: int = 4,
    aligned: tuple[int, ...] | None = None, **options,
):  # fmt: skip
    """One of the kernels above. aligned: places of the arguments divisible by 16."""
    constants = {k: getattr(tl, v, v) if k == "ACC" else v for k, v in constants.items()}
    signature = {**signature, **dict.fromkeys(constants, "constexpr")}
    attrs = None if aligned is None else {(i,): ALIGNED for i in aligned}
    return compile_kernel(
        named(f"{function}_kernel"), signature, constants, arch=arch, num_warps=num_warps,
        attrs=attrs, **options,
    )  # fmt: skip


@triton.jit
def function_kernel(x0_ptr, x1_ptr, x2_ptr, x3_ptr, y_ptr, FN: tl.constexpr, ARITY: tl.constexpr):
    i = tl.arange(0, 128)
    x0 = tl.load(x0_ptr + i)
    if ARITY == 1:
        y = FN(x0)
    elif ARITY == 2:
        y = FN(x0, tl.load(x1_ptr + i))
    elif ARITY == 3:
        y = FN(x0, tl.load(x1_ptr + i), tl.load(x2_ptr + i))
    else:
        y = FN(x0, tl.load(x1_ptr + i), tl.load(x2_ptr + i), tl.load(x3_ptr + i))
    tl.store(y_ptr + i, y)


SHORT = {"int1": "i1", "int32": "i32", "int64": "i64", "uint32": "u32", "uint64": "u64"}


def libdevice(*, name: str, types: tuple[str, ...], result: str, arch: int):
    """A function of libdevice on 128 numbers; its kernel's arguments are those and the results."""
    constants = {"FN": getattr(cuda.libdevice, name), "ARITY": len(types)}
    names = [f"x{i}_ptr" for i in range(4)]
    constants |= dict.fromkeys(names[len(types) :])
    pointers = {n: f"*{SHORT.get(t, t)}" for n, t in zip(names, types, strict=False)}
    pointers["y_ptr"] = f"*{SHORT.get(result, result)}"
    signature = {n: pointers.get(n, "constexpr") for n in function_kernel.arg_names}
    return compile_kernel(function_kernel, signature, constants, arch=arch)


def stage(
    *, arch: int, size: int, channels: int, splits: int, images: int, tile: tuple[int, ...],
    dtype: torch.dtype = torch.float16, chained: bool = True,
):  # fmt: skip
    """The project's own, of packed weights with `splits` convolutions."""
    layout, tile = PlanesLayout(images, size, size, channels, tile[2]), TileConfig(*tile)
    planes = torch.empty(splits, layout.rows, channels, dtype=dtype)
    w = torch.empty(splits, 3, layout.k, tile.columns(channels)[0] * tile.block_n, dtype=dtype)
    b = torch.empty(splits, w.shape[3])
    y = torch.empty(images * size * size, splits * channels, dtype=dtype)
    call = launch_stage(planes, w, b, y, layout=layout, tile=tile, chained=chained)[0]
    types = {n: NAMES[v.dtype] for n, v in call.args.items() if isinstance(v, torch.Tensor)}
    types |= {"plane": "i64"} | ({} if chained else {"g": "i32"})
    return compile_kernel(
        call.kernel, {**types, **dict.fromkeys(call.constants, "constexpr")}, call.constants,
        arch=arch, num_warps=call.warps, attrs={(i,): ALIGNED for i in range(5)},
    )  # fmt: skip


def tma(**arguments):
    """One of tma_kernels.py."""
    return tma_kernels.build(**arguments)


def main() -> None:
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a compiler prints is no answer
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            made = globals()[name](**arguments)
            answer = made
            if not isinstance(made, tuple):
                answer = made.ptx, made.dynamic_bytes, made.num_warps
        except Exception as error:  # noqa: BLE001  whatever it is, the test shall raise it
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
