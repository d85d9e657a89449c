"""Softmax and cross entropy over rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import fresh, kind, randn


@triton.jit
def softmax_kernel(x_ptr, y_ptr, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offs = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + offs, mask=offs < n, other=-float("inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * stride + offs, e / tl.sum(e, 0), mask=offs < n)


@kind("softmax, one pass")
def softmax():
    x = randn(13, 100, dtype=torch.float16)
    y = fresh(13, 100, dtype=torch.float16)
    softmax_kernel[(13,)](x, y, x.stride(0), 100, BLOCK=triton.next_power_of_2(100))
    return y, x.float().softmax(1), 1e-3


@triton.jit
def persistent_softmax_kernel(x_ptr, y_ptr, rows, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    for row in tl.range(tl.program_id(0), rows, tl.num_programs(0), num_stages=3):
        x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=-float("inf"))
        e = tl.exp(x - tl.max(x, 0))
        tl.store(y_ptr + row * n + offs, e / tl.sum(e, 0), mask=offs < n)


@kind("softmax, persistent")
def persistent_softmax():
    x, y = randn(11, 96), fresh(11, 96)
    persistent_softmax_kernel[(4,)](x, y, 11, 96, BLOCK=128, num_warps=4)
    return y, x.softmax(1), 1e-5


@triton.jit
def online_softmax_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    base = tl.program_id(0) * n
    offs = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        inside = start + offs < n
        x = tl.load(x_ptr + base + start + offs, mask=inside, other=-float("inf"))
        higher = tl.maximum(top, x)
        seen = higher > -float("inf")
        scale = tl.where(seen, tl.exp(top - higher), 0.0)
        total = total * scale + tl.where(inside, tl.exp(x - higher), 0.0)
        top = higher
    highest = tl.max(top, 0)
    norm = tl.sum(total * tl.exp(top - highest), 0)
    for start in range(0, n, BLOCK):
        inside = start + offs < n
        x = tl.load(x_ptr + base + start + offs, mask=inside)
        tl.store(y_ptr + base + start + offs, tl.exp(x - highest) / norm, mask=inside)


@kind("softmax, online")
def online_softmax():
    x, y = randn(5, 300), fresh(5, 300)
    online_softmax_kernel[(5,)](x, y, 300, BLOCK=128)
    return y, x.softmax(1), 1e-5


@triton.jit
def softmax_backward_kernel(y_ptr, dy_ptr, dx_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * n + tl.arange(0, BLOCK)
    inside = tl.arange(0, BLOCK) < n
    y = tl.load(y_ptr + offs, mask=inside, other=0.0)
    dy = tl.load(dy_ptr + offs, mask=inside, other=0.0)
    tl.store(dx_ptr + offs, y * (dy - tl.sum(y * dy, 0)), mask=inside)


@kind("softmax, backward")
def softmax_backward():
    x = randn(6, 100).requires_grad_()
    y, dy, dx = x.softmax(1), randn(6, 100), fresh(6, 100)
    y.backward(dy)
    softmax_backward_kernel[(6,)](y.detach(), dy, dx, 100, BLOCK=128, num_warps=2)
    return dx, x.grad, 1e-5


@triton.jit
def cross_entropy_kernel(
    x_ptr, label_ptr, loss_ptr, dx_ptr, n, ignored, scale, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(label_ptr + row)
    if label == ignored:
        for start in range(0, n, BLOCK):
            offs = start + tl.arange(0, BLOCK)
            tl.store(dx_ptr + row * n + offs, 0.0, mask=offs < n)
        tl.store(loss_ptr + row, 0.0)
        return
    top, total = -float("inf"), 0.0
    for start in range(0, n, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(x, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(x - higher), 0)
        top = higher
    at_label = tl.load(x_ptr + row * n + label).to(tl.float32)
    tl.store(loss_ptr + row, tl.log(total) + top - at_label)
    for start in range(0, n, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n + offs, mask=offs < n, other=-float("inf")).to(tl.float32)
        p = tl.exp(x - top) / total
        tl.store(dx_ptr + row * n + offs, (p - tl.where(offs == label, 1.0, 0.0)) * scale,
                 mask=offs < n)  # fmt: skip


@kind("cross entropy, forward and backward")
def cross_entropy():
    x = randn(9, 200).requires_grad_()
    labels = torch.randint(0, 200, (9,))
    labels[4] = -100
    loss, dx = fresh(9), fresh(9, 200)
    cross_entropy_kernel[(9,)](x.detach(), labels, loss, dx, 200, -100, 1.0, BLOCK=64)
    wanted = torch.nn.functional.cross_entropy(x, labels, reduction="none")
    wanted.sum().backward()
    return [(loss, wanted.detach(), 1e-5), (dx, x.grad, 1e-5)]


@triton.jit
def kl_kernel(p_ptr, q_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    at = tl.program_id(0) * n + offs
    log_p = tl.load(p_ptr + at, mask=offs < n, other=0.0)
    q = tl.load(q_ptr + at, mask=offs < n, other=0.0)
    part = tl.where(q > 0, q * (tl.log(q) - log_p), 0.0)
    tl.store(out_ptr + tl.program_id(0), tl.sum(part, 0))


@kind("KL divergence")
def kl_divergence():
    log_p, q, out = randn(7, 50).log_softmax(1), randn(7, 50).softmax(1), fresh(7)
    kl_kernel[(7,)](log_p, q, out, 50, BLOCK=64, num_warps=1)
    wanted = torch.nn.functional.kl_div(log_p, q, reduction="none").sum(1)
    return out, wanted, 1e-5
