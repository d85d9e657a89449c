"""Matrix products in the forms that kernels are written in."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import fresh, kind, randn


@triton.jit
def matmul_kernel(
    a_ptr, b_ptr, c_ptr, bias_ptr, M, N, K, sam, sak, sbk, sbn, scm, scn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    # Tiles of GROUP rows of tiles are neighbours, so that they find their operands in L2
    pid, rows, columns = tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group = pid // (GROUP * columns)
    first = group * GROUP
    height = min(rows - first, GROUP)
    pid_m = first + (pid % (GROUP * columns)) % height
    pid_n = (pid % (GROUP * columns)) // height
    offs_m = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)) % M
    offs_n = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + offs_m[:, None] * sam + offs_k[None, :] * sak
    b_ptrs = b_ptr + offs_k[:, None] * sbk + offs_n[None, :] * sbn
    acc = tl.zeros((BLOCK_M, BLOCK_N), ACC)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=offs_k[None, :] < K - k * BLOCK_K, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_K, other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
        a_ptrs += BLOCK_K * sak
        b_ptrs += BLOCK_K * sbk
    rows_c = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns_c = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + columns_c, mask=columns_c < N, other=0.0)[None, :]
    if ACTIVATION == "leaky_relu":
        acc = tl.where(acc >= 0, acc, 0.01 * acc)
    elif ACTIVATION == "silu":
        acc = acc * tl.sigmoid(acc)
    inside = (rows_c[:, None] < M) & (columns_c[None, :] < N)
    tl.store(c_ptr + rows_c[:, None] * scm + columns_c[None, :] * scn,
             acc.to(c_ptr.dtype.element_ty), mask=inside)  # fmt: skip


def multiply(
    a, b, *, out=torch.float32, bias=None, activation="", tile=(32, 32, 32), group=1,
    acc=tl.float32, precision="tf32", **options,
):  # fmt: skip
    """Launch it on a [M, K] and b [K, N]."""
    (m, k), n = a.shape, b.shape[1]
    c = fresh(m, n, dtype=out)
    grid = lambda meta: (triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]),)  # noqa: E731
    matmul_kernel[grid](
        a, b, c, bias, m, n, k, a.stride(0), a.stride(1), b.stride(0), b.stride(1), c.stride(0),
        c.stride(1), BLOCK_M=tile[0], BLOCK_N=tile[1], BLOCK_K=tile[2], GROUP=group,
        ACTIVATION=activation, HAS_BIAS=bias is not None, ACC=acc, PRECISION=precision, **options,
    )  # fmt: skip
    return c


@kind("matmul fp16")
def fp16():
    a, b = randn(64, 96, dtype=torch.float16), randn(96, 64, dtype=torch.float16)
    c = multiply(a, b, tile=(64, 64, 32), num_warps=4, num_stages=3)
    return c, a.double() @ b.double(), 1e-4


@kind("matmul bf16, ragged edges")
def bf16():
    a, b = randn(70, 50, dtype=torch.bfloat16), randn(50, 45, dtype=torch.bfloat16)
    return multiply(a, b, tile=(64, 32, 32)), a.double() @ b.double(), 1e-4


@kind("matmul, grouped order")
def grouped_order():
    a, b = randn(160, 64, dtype=torch.float16), randn(64, 96, dtype=torch.float16)
    return multiply(a, b, group=4), a.double() @ b.double(), 1e-4


@kind("matmul, bias and activation")
def bias_and_activation():
    a, b = randn(64, 64, dtype=torch.float16), randn(64, 64, dtype=torch.float16)
    bias = randn(64)
    product = a.float() @ b.float() + bias
    leaky = multiply(a, b, bias=bias, activation="leaky_relu", out=torch.float16)
    silu = multiply(a, b, bias=bias, activation="silu", tile=(64, 64, 32))
    wanted = torch.nn.functional.leaky_relu(product)
    return [(leaky, wanted, 2e-3), (silu, torch.nn.functional.silu(product), 1e-3)]


@kind("matmul, transposed operands")
def transposed():
    a, b = randn(64, 64, dtype=torch.float16).t(), randn(64, 64, dtype=torch.float16).t()
    return multiply(a, b, tile=(64, 64, 32)), a.double() @ b.double(), 1e-4


@kind("matmul tf32")
def tf32():
    a, b = randn(64, 64), randn(64, 64)
    return multiply(a, b, tile=(64, 64, 32)), a.double() @ b.double(), 3e-2


@kind("matmul fp32 (ieee, and three tf32)")
def ieee():
    a, b = randn(32, 32), randn(32, 32)
    exact = a.double() @ b.double()
    once, thrice = (multiply(a, b, tile=(32, 32, 16), precision=p) for p in ("ieee", "tf32x3"))
    return [(once, exact, 1e-5), (thrice, exact, 1e-4)]


@kind("matmul fp64")
def fp64():
    a, b = randn(32, 32).double(), randn(32, 32).double()
    c = multiply(a, b, tile=(32, 32, 16), out=torch.float64, acc=tl.float64, precision="ieee")
    return c, a @ b, 1e-12


@kind("matmul int8")
def int8():
    a, b = (torch.randint(-100, 100, (64, 64), dtype=torch.int8) for _ in range(2))
    c = multiply(a, b, tile=(64, 64, 64), out=torch.int32, acc=tl.int32)
    return c, a.double() @ b.double(), 0.0


@kind("matmul fp8", archs=(90, 100, 120))
def fp8():
    a, b = (randn(64, 64).to(torch.float8_e4m3fn) for _ in range(2))
    c = multiply(a, b, tile=(64, 64, 64))
    return c, a.double() @ b.double(), 3e-2


@triton.jit
def split_k_kernel(
    a_ptr, b_ptr, c_ptr, N: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    offs_m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    offs_n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    offs_k = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, K, BLOCK_K * SPLITS):
        a = tl.load(a_ptr + offs_m[:, None] * K + (k + offs_k)[None, :])
        b = tl.load(b_ptr + (k + offs_k)[:, None] * N + offs_n[None, :])
        acc += tl.dot(a, b)
    tl.atomic_add(c_ptr + offs_m[:, None] * N + offs_n[None, :], acc, sem="relaxed")


@kind("matmul, split-K with atomics (3-D grid)")
def split_k():
    a, b = randn(64, 128, dtype=torch.float16), randn(128, 64, dtype=torch.float16)
    c = torch.zeros(64, 64)
    split_k_kernel[(2, 2, 2)](a, b, c, N=64, K=128, BLOCK=32, BLOCK_K=32, SPLITS=2)
    return c, a.double() @ b.double(), 1e-4


@triton.jit
def persistent_kernel(
    a_ptr, b_ptr, c_ptr, M, N, K, BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, SMS: tl.constexpr
):  # fmt: skip
    columns = tl.cdiv(N, BLOCK)
    tiles = tl.cdiv(M, BLOCK) * columns
    for tile in tl.range(tl.program_id(0), tiles, SMS, flatten=True):
        offs_m = tile // columns * BLOCK + tl.arange(0, BLOCK)
        offs_n = tile % columns * BLOCK + tl.arange(0, BLOCK)
        acc = tl.zeros((BLOCK, BLOCK), tl.float32)
        for k in range(0, tl.cdiv(K, BLOCK_K)):
            offs_k = k * BLOCK_K + tl.arange(0, BLOCK_K)
            a = tl.load(a_ptr + offs_m[:, None] * K + offs_k[None, :], mask=offs_m[:, None] < M,
                        other=0.0)  # fmt: skip
            b = tl.load(b_ptr + offs_k[:, None] * N + offs_n[None, :], mask=offs_n[None, :] < N,
                        other=0.0)  # fmt: skip
            acc = tl.dot(a, b, acc)
        inside = (offs_m[:, None] < M) & (offs_n[None, :] < N)
        tl.store(c_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(tl.float16), mask=inside)


@kind("matmul, persistent (flattened loops)")
def persistent():
    a, b = randn(100, 64, dtype=torch.float16), randn(64, 80, dtype=torch.float16)
    c = fresh(100, 80, dtype=torch.float16)
    persistent_kernel[(3,)](a, b, c, 100, 80, 64, BLOCK=32, BLOCK_K=32, SMS=3)
    return c, a.double() @ b.double(), 2e-3


@triton.jit
def batched_kernel(
    a_ptr, b_ptr, c_ptr, sa, sb, sc, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    batch = tl.program_id(2).to(tl.int64)
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + batch * sa + m[:, None] * K + k[None, :])
    b = tl.load(b_ptr + batch * sb + k[:, None] * N + n[None, :])
    tl.store(c_ptr + batch * sc + m[:, None] * N + n[None, :], tl.dot(a, b))


@kind("matmul, batched")
def batched():
    a, b = randn(5, 32, 64, dtype=torch.bfloat16), randn(5, 64, 16, dtype=torch.bfloat16)
    c = fresh(5, 32, 16)
    batched_kernel[(1, 1, 5)](a, b, c, a.stride(0), b.stride(0), c.stride(0), M=32, N=16, K=64)
    return c, a.double() @ b.double(), 1e-4


@triton.jit
def grouped_gemm_kernel(
    pointers_ptr, sizes_ptr, GROUPS: tl.constexpr, SMS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    tile, before = tl.program_id(0), 0
    for g in range(GROUPS):
        m, n, k = (tl.load(sizes_ptr + 3 * g), tl.load(sizes_ptr + 3 * g + 1),
                   tl.load(sizes_ptr + 3 * g + 2))  # fmt: skip
        columns = tl.cdiv(n, BLOCK)
        tiles = tl.cdiv(m, BLOCK) * columns
        while tile >= before and tile < before + tiles:
            a_ptr = tl.load(pointers_ptr + 3 * g).to(tl.pointer_type(tl.float16))
            b_ptr = tl.load(pointers_ptr + 3 * g + 1).to(tl.pointer_type(tl.float16))
            c_ptr = tl.load(pointers_ptr + 3 * g + 2).to(tl.pointer_type(tl.float16))
            offs_m = (tile - before) // columns * BLOCK + tl.arange(0, BLOCK)
            offs_n = (tile - before) % columns * BLOCK + tl.arange(0, BLOCK)
            offs_k = tl.arange(0, BLOCK)
            acc = tl.zeros((BLOCK, BLOCK), tl.float32)
            for k0 in range(0, k, BLOCK):
                a = tl.load(a_ptr + offs_m[:, None] * k + (k0 + offs_k)[None, :])
                b = tl.load(b_ptr + (k0 + offs_k)[:, None] * n + offs_n[None, :])
                acc += tl.dot(a, b)
            tl.store(c_ptr + offs_m[:, None] * n + offs_n[None, :], acc.to(tl.float16))
            tile += SMS
        before += tiles


@kind("grouped GEMM (pointers in memory)")
def grouped_gemm():
    sizes = [(32, 64, 32), (64, 32, 64), (32, 32, 32)]
    a = [randn(m, k, dtype=torch.float16) for m, _, k in sizes]
    b = [randn(k, n, dtype=torch.float16) for _, n, k in sizes]
    c = [fresh(m, n, dtype=torch.float16) for m, n, _ in sizes]
    pointers = torch.tensor([t.data_ptr() for three in zip(a, b, c, strict=True) for t in three])
    table = torch.tensor(sizes, dtype=torch.int32)
    grouped_gemm_kernel[(2,)](pointers, table, GROUPS=3, SMS=2, BLOCK=32)
    return [(z, x.double() @ y.double(), 2e-3) for x, y, z in zip(a, b, c, strict=True)]


@triton.jit
def int4_kernel(
    x_ptr, w_ptr, scale_ptr, y_ptr, N: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    offs_m, offs_n = tl.arange(0, BLOCK), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k0 in range(0, K, GROUP):
        offs_k = k0 + tl.arange(0, GROUP)
        x = tl.load(x_ptr + offs_m[:, None] * K + offs_k[None, :])
        packed = tl.load(w_ptr + (offs_k[:, None] // 8) * N + offs_n[None, :])  # 8 in an int32
        w = ((packed >> (offs_k[:, None] % 8 * 4)) & 0xF) - 8
        scale = tl.load(scale_ptr + k0 // GROUP * N + offs_n)
        acc += tl.dot(x, (w.to(tl.float16) * scale[None, :]).to(tl.float16))
    tl.store(y_ptr + offs_m[:, None] * N + offs_n[None, :], acc)


@kind("matmul, weights dequantised from int4")
def int4():
    x, w = randn(32, 64, dtype=torch.float16), torch.randint(0, 16, (64, 64), dtype=torch.int32)
    shifts = (torch.arange(8, dtype=torch.int32) * 4)[None, :, None]
    packed = (w.reshape(8, 8, 64) << shifts).sum(1).to(torch.int32)
    scale = (torch.rand(2, 64) + 0.5).half()
    y = fresh(32, 64)
    int4_kernel[(2,)](x, packed, scale, y, N=64, K=64, BLOCK=32, GROUP=32)
    real = (w - 8).half() * scale.repeat_interleave(32, 0)
    return y, x.double() @ real.double(), 1e-3
