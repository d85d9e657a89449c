"""Normalisation: layer, RMS, group and batch norm, forward and backward."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch.nn import functional

from .registry import fresh, kind, randn


@triton.jit
def layer_norm_kernel(
    x_ptr, w_ptr, b_ptr, y_ptr, mean_ptr, rstd_ptr, n, eps, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + row * n + offs, mask=offs < n, other=0.0)
    mean = tl.sum(total, 0) / n
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=0.0)
        x = tl.where(offs < n, x - mean, 0.0)
        total += x * x
    rstd = 1 / tl.sqrt(tl.sum(total, 0) / n + eps)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)
    for start in range(0, n, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        inside = offs < n
        x = tl.load(x_ptr + row * n + offs, mask=inside)
        w, b = tl.load(w_ptr + offs, mask=inside), tl.load(b_ptr + offs, mask=inside)
        tl.store(y_ptr + row * n + offs, (x - mean) * rstd * w + b, mask=inside)


@triton.jit
def layer_norm_backward_kernel(
    x_ptr, w_ptr, dy_ptr, mean_ptr, rstd_ptr, dx_ptr, dw_ptr, db_ptr, lock_ptr, n,
    GROUPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    inside = offs < n
    x = tl.load(x_ptr + row * n + offs, mask=inside, other=0.0)
    dy = tl.load(dy_ptr + row * n + offs, mask=inside, other=0.0)
    w = tl.load(w_ptr + offs, mask=inside, other=0.0)
    mean, rstd = tl.load(mean_ptr + row), tl.load(rstd_ptr + row)
    x_hat = tl.where(inside, (x - mean) * rstd, 0.0)
    wdy = w * dy
    c1, c2 = tl.sum(x_hat * wdy, 0) / n, tl.sum(wdy, 0) / n
    tl.store(dx_ptr + row * n + offs, (wdy - (x_hat * c1 + c2)) * rstd, mask=inside)
    # The rows of a group add up one after the other, behind a lock
    lock = lock_ptr + row % GROUPS
    count = lock + GROUPS
    place = row % GROUPS * n + offs
    dw, db = dy * x_hat, dy
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    first = tl.load(count) == 0
    tl.debug_barrier()  # every warp has loaded it
    if first:
        tl.atomic_xchg(count, 1)
    else:
        dw += tl.load(dw_ptr + place, mask=inside)
        db += tl.load(db_ptr + place, mask=inside)
    tl.store(dw_ptr + place, dw, mask=inside)
    tl.store(db_ptr + place, db, mask=inside)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


@triton.jit
def column_sum_kernel(parts_ptr, out_ptr, rows, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (offs[None, :] < n)
        total += tl.load(parts_ptr + row[:, None] * n + offs[None, :], mask=inside, other=0.0)
    tl.store(out_ptr + offs, tl.sum(total, 0), mask=offs < n)


def layer_norm_forward(x, w, b):
    rows, n = x.shape
    y, mean, rstd = fresh(rows, n), fresh(rows), fresh(rows)
    layer_norm_kernel[(rows,)](x, w, b, y, mean, rstd, n, 1e-5, BLOCK=64, num_warps=2)
    return y, mean, rstd


@kind("layer norm, forward")
def layer_norm():
    x, w, b = randn(7, 100), randn(100), randn(100)
    y, mean, _ = layer_norm_forward(x, w, b)
    return [(y, functional.layer_norm(x, (100,), w, b), 1e-5), (mean, x.mean(1), 1e-5)]


@kind("layer norm, backward (spin lock)")
def layer_norm_backward():
    x, w, b = randn(12, 100).requires_grad_(), randn(100).requires_grad_(), randn(100)
    b.requires_grad_()
    dy, dx = randn(12, 100), fresh(12, 100)
    functional.layer_norm(x, (100,), w, b).backward(dy)
    _, mean, rstd = layer_norm_forward(x.detach(), w.detach(), b.detach())
    groups = 3
    locks = torch.zeros(2 * groups, dtype=torch.int32)
    parts = fresh(2, groups, 100)
    layer_norm_backward_kernel[(12,)](
        x.detach(), w.detach(), dy, mean, rstd, dx, parts[0], parts[1], locks, 100, GROUPS=groups,
        BLOCK=128, num_warps=2,
    )  # fmt: skip
    dw, db = fresh(100), fresh(100)
    for part, out in ((parts[0], dw), (parts[1], db)):
        column_sum_kernel[(2,)](part, out, groups, 100, ROWS=4, BLOCK=64)
    return [(dx, x.grad, 1e-4), (dw, w.grad, 1e-4), (db, b.grad, 1e-4)]


@triton.jit
def rms_norm_kernel(x_ptr, r_ptr, w_ptr, y_ptr, n, eps, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    inside = offs < n
    x = tl.load(x_ptr + row * n + offs, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(r_ptr + row * n + offs, mask=inside, other=0.0).to(tl.float32)
    tl.store(r_ptr + row * n + offs, x.to(tl.bfloat16), mask=inside)  # in place
    scale = tl.rsqrt(tl.sum(x * x, 0) / n + eps)
    w = tl.load(w_ptr + offs, mask=inside).to(tl.float32)
    tl.store(y_ptr + row * n + offs, (x * scale * w).to(tl.bfloat16), mask=inside)


@kind("RMS norm, with the residual added in place")
def rms_norm():
    x, residual, w = (randn(*s, dtype=torch.bfloat16) for s in ((5, 200), (5, 200), (200,)))
    y, total = fresh(5, 200, dtype=torch.bfloat16), x.float() + residual.float()
    rms_norm_kernel[(5,)](x, residual, w, y, 200, 1e-6, BLOCK=256)
    wanted = total * torch.rsqrt(total.square().mean(1, keepdim=True) + 1e-6) * w.float()
    return [(y, wanted, 2e-2), (residual, total.bfloat16(), 0.0)]


@triton.jit
def group_norm_kernel(
    x_ptr, w_ptr, b_ptr, y_ptr, hw, eps, C: tl.constexpr, PER: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    image, group = tl.program_id(0), tl.program_id(1)
    c = group * PER + tl.arange(0, PER)
    offs = tl.arange(0, BLOCK)
    at = (image * C + c)[:, None] * hw + offs[None, :]
    inside = (offs < hw)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0)
    mean = tl.sum(x) / (PER * hw)
    centred = tl.where(inside, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred) / (PER * hw) + eps)
    y = centred * rstd * tl.load(w_ptr + c)[:, None] + tl.load(b_ptr + c)[:, None]
    tl.store(y_ptr + at, y, mask=inside)


@kind("group norm")
def group_norm():
    x, w, b = randn(2, 16, 5, 7), randn(16), randn(16)
    y = fresh(2, 16, 5, 7)
    group_norm_kernel[(2, 4)](x, w, b, y, 35, 1e-5, C=16, PER=4, BLOCK=64, num_warps=2)
    return y, functional.group_norm(x, 4, w, b), 1e-5


@triton.jit
def combine(mean_a, m2_a, n_a, mean_b, m2_b, n_b):
    n = n_a + n_b
    share = tl.where(n == 0, 0.0, n_b / n)
    delta = mean_b - mean_a
    return mean_a + delta * share, m2_a + m2_b + delta * delta * n_a * share, n


@triton.jit
def welford_kernel(x_ptr, mean_ptr, var_ptr, n, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    mean = tl.zeros((BLOCK,), tl.float32)
    m2 = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        inside = start + offs < n
        x = tl.load(x_ptr + row * n + start + offs, mask=inside, other=0.0)
        count += tl.where(inside, 1.0, 0.0)
        delta = x - mean
        mean += tl.where(inside, delta / tl.maximum(count, 1.0), 0.0)
        m2 += tl.where(inside, delta * (x - mean), 0.0)
    mean, m2, count = tl.reduce((mean, m2, count), 0, combine)
    tl.store(mean_ptr + row, mean)
    tl.store(var_ptr + row, m2 / count)


@kind("variance by Welford (batch norm's statistics)")
def welford():
    x, mean, var = randn(4, 300) * 3 + 5, fresh(4), fresh(4)
    welford_kernel[(4,)](x, mean, var, 300, BLOCK=128, num_warps=4)
    return [(mean, x.mean(1), 1e-5), (var, x.var(1, correction=0), 1e-5)]
