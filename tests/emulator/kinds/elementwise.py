"""Elementwise kernels and optimisers, random numbers, quantisation, and grids of all ranks."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch.nn import functional

from .registry import fresh, kind, randn


@triton.jit
def add_kernel(x_ptr, y_ptr, z_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    tl.store(z_ptr + offs, tl.load(x_ptr + offs, inside) + tl.load(y_ptr + offs, inside), inside)


@kind("vector addition")
def add():
    x, y, z = randn(1000), randn(1000), fresh(1000)
    add_kernel[lambda meta: (triton.cdiv(1000, meta["BLOCK"]),)](x, y, z, 1000, BLOCK=256)
    return z, x + y, 0.0


@triton.jit
def dropout_kernel(x_ptr, y_ptr, n, p, seed, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    kept = tl.rand(seed, offs) > p
    x = tl.load(x_ptr + offs, mask=inside)
    tl.store(y_ptr + offs, tl.where(kept, x / (1 - p), 0.0), mask=inside)


@kind("dropout (tl.rand), the mask made again by its seed")
def dropout():
    x, y, again = randn(4000).abs() + 1, fresh(4000), fresh(4000)
    dropout_kernel[(4,)](x, y, 4000, 0.25, 123, BLOCK=1024)
    dropout_kernel[(16,)](x, again, 4000, 0.25, 123, BLOCK=256)
    kept = y != 0
    share = kept.float().mean()
    return [(y, torch.where(kept, x / 0.75, 0.0), 1e-6), (again, y, 0.0), (share, 0.75, 0.03)]


@triton.jit
def swiglu_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    inside = offs < n
    gate = tl.load(x_ptr + row * 2 * n + offs, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * n + n + offs, mask=inside, other=0.0).to(tl.float32)
    y = gate * tl.sigmoid(gate) * up
    tl.store(y_ptr + row * n + offs, y.to(y_ptr.dtype.element_ty), mask=inside)


@kind("SwiGLU")
def swiglu():
    x, y = randn(6, 200, dtype=torch.bfloat16), fresh(6, 100, dtype=torch.bfloat16)
    swiglu_kernel[(6,)](x, y, 100, BLOCK=128)
    gate, up = x.float().chunk(2, 1)
    return y, functional.silu(gate) * up, 1e-2


@triton.jit
def gelu_kernel(x_ptr, y_ptr, dy_ptr, dx_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    x = tl.load(x_ptr + offs, mask=inside, other=0.0)
    cdf = 0.5 * (1 + tl.erf(x * 0.7071067811865476))
    tl.store(y_ptr + offs, x * cdf, mask=inside)
    pdf = 0.3989422804014327 * tl.exp(-0.5 * x * x)
    dy = tl.load(dy_ptr + offs, mask=inside, other=0.0)
    tl.store(dx_ptr + offs, dy * (cdf + x * pdf), mask=inside)


@kind("GELU (erf), forward and backward")
def gelu():
    x = (randn(500) * 2).requires_grad_()
    y, dy, dx = fresh(500), randn(500), fresh(500)
    functional.gelu(x).backward(dy)
    gelu_kernel[(2,)](x.detach(), y, dy, dx, 500, BLOCK=256)
    return [(y, functional.gelu(x.detach()), 1e-5), (dx, x.grad, 1e-5)]


@triton.jit
def adamw_kernel(
    p_ptr, g_ptr, m_ptr, v_ptr, n, lr, beta1, beta2, eps, decay, step, BLOCK: tl.constexpr
):  # fmt: skip
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offs < n
    p, g = tl.load(p_ptr + offs, mask=inside), tl.load(g_ptr + offs, mask=inside)
    m = beta1 * tl.load(m_ptr + offs, mask=inside) + (1 - beta1) * g
    v = beta2 * tl.load(v_ptr + offs, mask=inside) + (1 - beta2) * g * g
    m_hat = m / (1 - tl.exp2(step * tl.log2(beta1)))
    v_hat = v / (1 - tl.exp2(step * tl.log2(beta2)))
    p = p * (1 - lr * decay) - lr * m_hat / (tl.sqrt(v_hat) + eps)
    tl.store(p_ptr + offs, p, mask=inside)
    tl.store(m_ptr + offs, m, mask=inside)
    tl.store(v_ptr + offs, v, mask=inside)


@kind("AdamW step, in place")
def adamw():
    p, m, v = randn(300), torch.zeros(300), torch.zeros(300)
    twin = p.clone().requires_grad_()
    optimiser = torch.optim.AdamW([twin], lr=0.1, weight_decay=0.01)
    for step in (1, 2):
        gradient = randn(300)
        adamw_kernel[(2,)](p, gradient, m, v, 300, 0.1, 0.9, 0.999, 1e-8, 0.01, step, BLOCK=256)
        twin.grad = gradient
        optimiser.step()
    return p, twin.detach(), 1e-4


@triton.jit
def quantise_kernel(
    x_ptr, q_ptr, scale_ptr, n, LIMIT: tl.constexpr, INTEGER: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=0.0)
    scale = tl.maximum(tl.max(tl.abs(x), 0), 1e-10) / LIMIT
    q = tl.clamp(x / scale, -LIMIT, LIMIT)
    if INTEGER:
        q = tl.floor(q + 0.5)
    tl.store(q_ptr + row * n + offs, q.to(q_ptr.dtype.element_ty), mask=offs < n)
    tl.store(scale_ptr + row, scale)


@kind("quantise to int8, by rows")
def quantise_int8():
    x, q, scale = randn(5, 100), fresh(5, 100, dtype=torch.int8), fresh(5)
    quantise_kernel[(5,)](x, q, scale, 100, LIMIT=127.0, INTEGER=True, BLOCK=128)
    largest = x.abs().amax(1)
    return [(scale, largest / 127, 1e-5), (q * scale[:, None], x, 2e-2)]


@kind("quantise to fp8, by rows", archs=(90, 100, 120))
def quantise_fp8():
    x, q, scale = randn(5, 100), torch.zeros(5, 100).to(torch.float8_e4m3fn), fresh(5)
    quantise_kernel[(5,)](x, q, scale, 100, LIMIT=448.0, INTEGER=False, BLOCK=128)
    wanted = (x / (x.abs().amax(1, keepdim=True) / 448)).to(torch.float8_e4m3fn)
    return [(scale, x.abs().amax(1) / 448, 1e-5), (q.float(), wanted.float(), 0.13)]


@triton.jit
def volume_kernel(x_ptr, y_ptr, X, Y, Z, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    j, k = tl.program_id(1), tl.program_id(2)
    at = (k * Y + j) * X + i
    weight = 100 * k + 10 * j + tl.num_programs(1)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=i < X) + weight, mask=i < X)


@kind("3-D grid")
def volume():
    x, y = randn(4, 3, 70), fresh(4, 3, 70)
    volume_kernel[(3, 3, 4)](x, y, 70, 3, 4, BLOCK=32, num_warps=1)
    k, j = torch.arange(4)[:, None, None], torch.arange(3)[None, :, None]
    return y, x + (100 * k + 10 * j + 3), 1e-5


@kind("two CTAs per cluster (num_ctas=2)", archs=(90, 100, 120))
def cluster():
    x, y, z = randn(1000), randn(1000), fresh(1000)
    add_kernel[(2,)](x, y, z, 1000, BLOCK=512, num_ctas=2)
    return z, x + y, 0.0
