"""Attention: flash forward and backward, with a paged cache, and rotary embeddings."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import fresh, kind, randn


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr, scale, T, D: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64) * T * D
    offs_m, d = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, D)
    at_q = head + offs_m[:, None] * D + d[None, :]
    inside = offs_m[:, None] < T
    q = tl.load(q_ptr + at_q, mask=inside, other=0.0)
    top = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    norm = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, D), tl.float32)
    stop = min(T, (tl.program_id(0) + 1) * BLOCK_M) if CAUSAL else T
    for start in range(0, stop, BLOCK_N):
        offs_n = start + tl.arange(0, BLOCK_N)
        at = head + offs_n[:, None] * D + d[None, :]
        k = tl.load(k_ptr + at, mask=offs_n[:, None] < T, other=0.0)
        s = tl.dot(q, tl.trans(k)) * (scale * 1.4426950408889634)
        seen = offs_n[None, :] < T
        if CAUSAL:
            seen = seen & (offs_m[:, None] >= offs_n[None, :])
        s = tl.where(seen, s, -float("inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - higher[:, None])
        shrink = tl.exp2(top - higher)
        norm = norm * shrink + tl.sum(p, 1)
        v = tl.load(v_ptr + at, mask=offs_n[:, None] < T, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None])
        top = higher
    tl.store(o_ptr + at_q, (acc / norm[:, None]).to(o_ptr.dtype.element_ty), mask=inside)
    tl.store(lse_ptr + tl.program_id(1) * T + offs_m, top + tl.log2(norm), mask=offs_m < T)


def reference(q, k, v, causal):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def flash(q, k, v, causal):
    heads, t, d = q.shape
    o, lse = torch.full_like(q, float("nan")), fresh(heads, t)
    forward_kernel[(triton.cdiv(t, 32), heads)](
        q, k, v, o, lse, d**-0.5, t, D=d, BLOCK_M=32, BLOCK_N=32, CAUSAL=causal, num_warps=4
    )
    return o, lse


@kind("flash attention, forward")
def flash_forward():
    q, k, v = (randn(2, 70, 32, dtype=torch.float16) for _ in range(3))
    return flash(q, k, v, False)[0], reference(q.float(), k.float(), v.float(), False), 2e-3


@kind("flash attention, forward, causal")
def flash_causal():
    q, k, v = (randn(2, 64, 64, dtype=torch.bfloat16) for _ in range(3))
    return flash(q, k, v, True)[0], reference(q.float(), k.float(), v.float(), True), 2e-2


@triton.jit
def row_product_kernel(o_ptr, do_ptr, delta_ptr, D: tl.constexpr):
    at = tl.program_id(0) * D + tl.arange(0, D)
    product = tl.load(o_ptr + at).to(tl.float32) * tl.load(do_ptr + at).to(tl.float32)
    tl.store(delta_ptr + tl.program_id(0), tl.sum(product, 0))


@triton.jit
def backward_kernel(
    q_ptr, k_ptr, v_ptr, do_ptr, lse_ptr, delta_ptr, dq_ptr, dk_ptr, dv_ptr, scale, T,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    start_n, head = tl.program_id(0) * BLOCK, tl.program_id(1)
    base = head * T * D
    d, block = tl.arange(0, D), tl.arange(0, BLOCK)
    at_n = base + (start_n + block)[:, None] * D + d[None, :]
    k, v = tl.load(k_ptr + at_n), tl.load(v_ptr + at_n)
    dk, dv = tl.zeros((BLOCK, D), tl.float32), tl.zeros((BLOCK, D), tl.float32)
    for start_m in range(start_n, T, BLOCK):  # causal: queries from here on
        rows = start_m + block
        at_m = base + rows[:, None] * D + d[None, :]
        q, do = tl.load(q_ptr + at_m), tl.load(do_ptr + at_m)
        lse, delta = tl.load(lse_ptr + head * T + rows), tl.load(delta_ptr + head * T + rows)
        s = tl.dot(q, tl.trans(k)) * (scale * 1.4426950408889634)
        p = tl.where(rows[:, None] >= (start_n + block)[None, :], tl.exp2(s - lse[:, None]), 0.0)
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, dv)
        dp = tl.dot(do, tl.trans(v))
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dk = tl.dot(tl.trans(ds), q, dk)
        tl.atomic_add(dq_ptr + at_m, tl.dot(ds, k) * scale, sem="relaxed")
    tl.store(dk_ptr + at_n, dk * scale)
    tl.store(dv_ptr + at_n, dv)


@kind("flash attention, backward, causal")
def flash_backward():
    q, k, v = (randn(2, 64, 32, dtype=torch.float16) for _ in range(3))
    leaves = [t.float().requires_grad_() for t in (q, k, v)]
    do = randn(2, 64, 32, dtype=torch.float16)
    reference(*leaves, True).backward(do.float())
    o, lse = flash(q, k, v, True)
    delta, dq = fresh(2, 64), torch.zeros(2, 64, 32)
    dk, dv = fresh(2, 64, 32), fresh(2, 64, 32)
    row_product_kernel[(128,)](o, do, delta, D=32, num_warps=1)
    backward_kernel[(2, 2)](q, k, v, do, lse, delta, dq, dk, dv, 32**-0.5, 64, D=32, BLOCK=32)
    wanted = [leaf.grad for leaf in leaves]
    return [(got, want, 1e-2) for got, want in zip((dq, dk, dv), wanted, strict=True)]


@triton.jit
def paged_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, length_ptr, o_ptr, scale, PAGES, HEADS: tl.constexpr,
    GROUP: tl.constexpr, D: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    sequence, kv_head = tl.program_id(0), tl.program_id(1)
    h, d = kv_head * GROUP + tl.arange(0, GROUP), tl.arange(0, D)
    at_q = (sequence * HEADS + h)[:, None] * D + d[None, :]
    q = tl.load(q_ptr + at_q)
    length = tl.load(length_ptr + sequence)
    top = tl.full((GROUP,), -float("inf"), tl.float32)
    norm = tl.zeros((GROUP,), tl.float32)
    acc = tl.zeros((GROUP, D), tl.float32)
    for page in range(0, tl.cdiv(length, PAGE)):
        number = tl.load(table_ptr + sequence * PAGES + page).to(tl.int64)
        token = tl.arange(0, PAGE)
        at = ((number * PAGE + token) * (HEADS // GROUP) + kv_head)[:, None] * D + d[None, :]
        inside = (page * PAGE + token < length)[:, None]
        k = tl.load(k_ptr + at, mask=inside, other=0.0)
        s = tl.dot(q, tl.trans(k)) * scale
        s = tl.where((page * PAGE + token < length)[None, :], s, -float("inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        p, shrink = tl.exp(s - higher[:, None]), tl.exp(top - higher)
        norm = norm * shrink + tl.sum(p, 1)
        v = tl.load(v_ptr + at, mask=inside, other=0.0)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v)
        top = higher
    tl.store(o_ptr + at_q, (acc / norm[:, None]).to(tl.float16))


@kind("paged decode attention, grouped queries")
def paged_decode():
    heads, group, d, page = 32, 16, 32, 16
    lengths = [40, 16, 3]
    q = randn(3, heads, d, dtype=torch.float16)
    k, v = (randn(10, page, heads // group, d, dtype=torch.float16) for _ in range(2))
    table = torch.tensor([[7, 2, 5], [1, 0, 0], [9, 0, 0]], dtype=torch.int32)
    o = torch.full_like(q, float("nan"))
    paged_kernel[(3, heads // group)](
        q, k, v, table, torch.tensor(lengths, dtype=torch.int32), o, d**-0.5, 3, HEADS=heads,
        GROUP=group, D=d, PAGE=page,
    )  # fmt: skip
    wanted = []
    for i, n in enumerate(lengths):
        keys, values = (
            c[table[i].long()].reshape(-1, heads // group, d)[:n].repeat_interleave(group, 1)
            for c in (k.float(), v.float())
        )
        scores = torch.einsum("hd,nhd->hn", q[i].float(), keys) * d**-0.5
        wanted.append(torch.einsum("hn,nhd->hd", scores.softmax(1), values))
    return o, torch.stack(wanted), 2e-3


@triton.jit
def rope_kernel(x_ptr, cos_ptr, sin_ptr, y_ptr, HEADS: tl.constexpr, HALF: tl.constexpr):
    token, h, d = tl.program_id(0), tl.arange(0, HEADS), tl.arange(0, HALF)
    at = (token * HEADS + h)[:, None] * 2 * HALF + d[None, :]
    a, b = tl.load(x_ptr + at), tl.load(x_ptr + at + HALF)
    cos, sin = tl.load(cos_ptr + token * HALF + d), tl.load(sin_ptr + token * HALF + d)
    tl.store(y_ptr + at, a * cos[None, :] - b * sin[None, :])
    tl.store(y_ptr + at + HALF, b * cos[None, :] + a * sin[None, :])


@kind("rotary embedding")
def rope():
    x, angle, y = randn(6, 4, 32), randn(6, 16), fresh(6, 4, 32)
    rope_kernel[(6,)](x, angle.cos(), angle.sin(), y, HEADS=4, HALF=16, num_warps=2)
    a, b = x.chunk(2, -1)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    return y, torch.cat([a * cos - b * sin, b * cos + a * sin], -1), 1e-5


@triton.jit
def decode_part_kernel(
    q_ptr, k_ptr, v_ptr, part_ptr, lse_ptr, T, scale, D: tl.constexpr, BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    head, split = tl.program_id(0), tl.program_id(1)
    offs, d = split * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    at = (head * T + offs)[:, None] * D + d[None, :]
    q = tl.load(q_ptr + head * D + d)
    s = tl.sum(tl.load(k_ptr + at, mask=offs[:, None] < T, other=0.0) * q[None, :], 1) * scale
    s = tl.where(offs < T, s, -float("inf"))
    top = tl.max(s, 0)
    p = tl.exp(s - top)
    v = tl.load(v_ptr + at, mask=offs[:, None] < T, other=0.0)
    total = tl.sum(p, 0)
    tl.store(part_ptr + (head * SPLITS + split) * D + d, tl.sum(p[:, None] * v, 0) / total)
    tl.store(lse_ptr + head * SPLITS + split, top + tl.log(total))


@triton.jit
def decode_merge_kernel(part_ptr, lse_ptr, o_ptr, D: tl.constexpr, SPLITS: tl.constexpr):
    head, s, d = tl.program_id(0), tl.arange(0, SPLITS), tl.arange(0, D)
    weight = tl.softmax(tl.load(lse_ptr + head * SPLITS + s))
    part = tl.load(part_ptr + (head * SPLITS + s)[:, None] * D + d[None, :])
    tl.store(o_ptr + head * D + d, tl.sum(part * weight[:, None], 0))


@kind("flash decoding (split keys)")
def flash_decoding():
    q, k, v = randn(3, 32), randn(3, 100, 32), randn(3, 100, 32)
    part, lse, o = fresh(3, 4, 32), fresh(3, 4), fresh(3, 32)
    decode_part_kernel[(3, 4)](q, k, v, part, lse, 100, 32**-0.5, D=32, BLOCK=32, SPLITS=4)
    decode_merge_kernel[(3,)](part, lse, o, D=32, SPLITS=4, num_warps=1)
    return o, reference(q[:, None], k, v, False)[:, 0], 1e-5
