"""Kernels whose addresses come from data: embeddings, mixtures of experts, jagged rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .registry import fresh, kind, randn


@triton.jit
def embedding_kernel(table_ptr, id_ptr, y_ptr, n, BLOCK: tl.constexpr):
    token, offs = tl.program_id(0), tl.arange(0, BLOCK)
    row = tl.load(id_ptr + token)
    x = tl.load(table_ptr + row * n + offs, mask=offs < n)
    tl.store(y_ptr + token * n + offs, x, mask=offs < n)


@triton.jit
def embedding_backward_kernel(dy_ptr, id_ptr, dtable_ptr, n, BLOCK: tl.constexpr):
    token, offs = tl.program_id(0), tl.arange(0, BLOCK)
    row = tl.load(id_ptr + token)
    dy = tl.load(dy_ptr + token * n + offs, mask=offs < n)
    tl.atomic_add(dtable_ptr + row * n + offs, dy, mask=offs < n)


@kind("embedding lookup, and its backward (scatter-add)")
def embedding():
    table, ids = randn(10, 50), torch.tensor([3, 3, 9, 0, 3, 1])
    y, dy, dtable = fresh(6, 50), randn(6, 50), torch.zeros(10, 50)
    embedding_kernel[(6,)](table, ids, y, 50, BLOCK=64)
    embedding_backward_kernel[(6,)](dy, ids, dtable, 50, BLOCK=64)
    wanted = torch.zeros(10, 50).index_add_(0, ids, dy)
    return [(y, table[ids], 0.0), (dtable, wanted, 1e-5)]


@triton.jit
def moe_kernel(
    x_ptr, w_ptr, y_ptr, token_ptr, expert_ptr, weight_ptr, tokens, N: tl.constexpr,
    K: tl.constexpr, TOP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    slot = tl.load(token_ptr + block * BLOCK + tl.arange(0, BLOCK))  # padded with tokens * TOP
    there = slot < tokens * TOP
    expert = tl.load(expert_ptr + block).to(tl.int64)
    offs_n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k0 in range(0, K, BLOCK):
        offs_k = k0 + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + (slot // TOP)[:, None] * K + offs_k[None, :], mask=there[:, None],
                    other=0.0)  # fmt: skip
        w = tl.load(w_ptr + expert * N * K + offs_n[None, :] * K + offs_k[:, None])
        acc = tl.dot(x, w, acc)
    acc *= tl.load(weight_ptr + slot, mask=there, other=0.0)[:, None]
    tl.store(y_ptr + slot[:, None] * N + offs_n[None, :], acc, mask=there[:, None])


@kind("mixture of experts (tokens gathered and scattered)")
def mixture_of_experts():
    tokens, n, k, experts, top, block = 20, 32, 64, 3, 2, 16
    x, w = randn(tokens, k, dtype=torch.float16), randn(experts, n, k, dtype=torch.float16)
    weight, choice = randn(tokens, experts).softmax(1).topk(top, 1)
    slots, owner = [], []
    for expert in range(experts):
        mine = (choice.flatten() == expert).nonzero().flatten().tolist()
        mine += [tokens * top] * (-len(mine) % block)
        slots += mine
        owner += [expert] * (len(mine) // block)
    y = fresh(tokens * top, n)
    moe_kernel[(len(owner), n // block)](
        x, w, y, torch.tensor(slots, dtype=torch.int32), torch.tensor(owner, dtype=torch.int32),
        weight, tokens, N=n, K=k, TOP=top, BLOCK=block,
    )  # fmt: skip
    every = torch.einsum("tk,enk->ten", x.float(), w.float())
    wanted = every.gather(1, choice[:, :, None].expand(-1, -1, n)) * weight[:, :, None]
    return y.reshape(tokens, top, n), wanted, 1e-3


@triton.jit
def jagged_kernel(x_ptr, offset_ptr, y_ptr, width, BLOCK: tl.constexpr):
    row, offs = tl.program_id(0), tl.arange(0, BLOCK)
    start, stop = tl.load(offset_ptr + row), tl.load(offset_ptr + row + 1)
    x = tl.load(x_ptr + start + offs, mask=start + offs < stop, other=0.0)
    tl.store(y_ptr + row * width + offs, x, mask=offs < width)


@kind("jagged rows to a padded tensor")
def jagged():
    lengths = [3, 0, 7, 5]
    rows = [randn(n) for n in lengths]
    offsets = torch.tensor([0, 3, 3, 10, 15])
    y = fresh(4, 7)
    jagged_kernel[(4,)](torch.cat(rows), offsets, y, 7, BLOCK=8, num_warps=1)
    return y, torch.nested.nested_tensor(rows).to_padded_tensor(0.0), 0.0


@triton.jit
def cache_kernel(k_ptr, slot_ptr, cache_ptr, N: tl.constexpr):
    token = tl.program_id(0)
    slot = tl.load(slot_ptr + token)
    if slot < 0:
        return
    offs = tl.arange(0, N)
    tl.store(cache_ptr + slot * N + offs, tl.load(k_ptr + token * N + offs))


@kind("writing into a paged cache")
def cache_write():
    k, cache = randn(4, 64), torch.zeros(12, 64)
    slots = torch.tensor([5, -1, 0, 11])
    cache_kernel[(4,)](k, slots, cache, N=64)
    wanted = torch.zeros(12, 64)
    wanted[[5, 0, 11]] = k[[0, 2, 3]]
    return cache, wanted, 0.0


@triton.jit
def spmv_kernel(row_ptr, column_ptr, value_ptr, x_ptr, y_ptr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    start, stop = tl.load(row_ptr + row), tl.load(row_ptr + row + 1)
    total = 0.0
    for at in range(start, stop, BLOCK):
        offs = at + tl.arange(0, BLOCK)
        column = tl.load(column_ptr + offs, mask=offs < stop, other=0)
        value = tl.load(value_ptr + offs, mask=offs < stop, other=0.0)
        total += tl.sum(value * tl.load(x_ptr + column), 0)
    tl.store(y_ptr + row, total)


@kind("sparse matrix (CSR) by vector")
def sparse():
    dense = randn(20, 90) * (torch.rand(20, 90) < 0.4)
    matrix, x, y = dense.to_sparse_csr(), randn(90), fresh(20)
    spmv_kernel[(20,)](
        matrix.crow_indices(), matrix.col_indices(), matrix.values(), x, y, BLOCK=32, num_warps=1
    )
    return y, dense @ x, 1e-5
