"""`FusedBlock` calls one operator, `torch.ops.r2n_kernels.block`, which runs one block.

It is opaque to torch.compile and torch.export. It allocates the block's buffers, plans for the
shape and device that it meets, and launches the kernels. The weights are FusedBlock's: they are
not checked.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..config import BlockConfig, Res2NetConfig
from ..errors import InferenceOnlyError, InputError
from ..fold.triton_layout import PackedConv
from ..inference_only import ADVICE
from ..kernels.call import MAX_ROWS, launch
from ..kernels.targets import Target
from ..kernels.tiles import TileTable
from ..plan import Plan
from ..plan.triton_schedule import TritonSchedule
from .triton_ops import allocate, bind
from .triton_target import current, kernel_target

SCHEMA = (
    "(Tensor x, Tensor w1, Tensor b1, Tensor w2, Tensor b2, Tensor w3, Tensor b3, Tensor? ws, *, "
    "int in_channels, int out_channels, int width, int scale, int stride, bool avg_down) -> Tensor"
)


def _run(
    x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor,
    ws: Tensor | None, **geometry: int,
) -> Tensor:  # fmt: skip
    _check(x, w1, geometry["in_channels"])
    if not len(x):
        return _empty(x, geometry["out_channels"], geometry["stride"])
    n, ci, h, w = x.shape
    plan = plan_block(n, h, w, x.dtype, kernel_target(x.device), ws is not None, **geometry)
    buffers = allocate(plan, x.device)
    buffers["input"] = x.permute(0, 2, 3, 1).contiguous().view(-1, ci)
    weights = {
        "block.conv1": PackedConv(w1, b1),
        "block.convs": PackedConv(w2, b2),
        "block.conv3": PackedConv(w3, b3, ws),
    }
    with current(x.device):
        for step in plan.steps:
            launch(bind(step, buffers, weights).calls())
    (out,) = plan.features
    n, co, h, w = plan.buffers[out].shape
    return buffers[out].view(n, h, w, co).permute(0, 3, 1, 2)


def _fake(x: Tensor, w1: Tensor, *_: Tensor | None, **geometry: int) -> Tensor:
    _check(x, w1, geometry["in_channels"])
    return _empty(x, geometry["out_channels"], geometry["stride"])


@lru_cache(maxsize=256)
def plan_block(
    n: int, h: int, w: int, dtype: torch.dtype, target: Target, is_first: bool, *,
    in_channels: int, out_channels: int, width: int, scale: int, stride: int, avg_down: bool,
) -> Plan:  # fmt: skip
    """Plan one block from the buffer "input" to the one that `features` names."""
    if n * h * w > MAX_ROWS:
        raise InputError(f"{n} images of {h}x{w} have {n * h * w} pixels, at most {MAX_ROWS} count")
    config = Res2NetConfig(scale=scale, avg_down=avg_down)
    block = BlockConfig("block", 0, in_channels, out_channels, width, stride, is_first)
    schedule = TritonSchedule(config, n, h, w, dtype, target, TileTable(), "auto")
    schedule.buffer("input", in_channels, h, w)
    out = schedule.block(block, "input")
    if out == "input":  # a network adds in place; here the input is the caller's
        out = schedule.buffer("out", out_channels, h, w)
        schedule.steps[-1] = dataclasses.replace(schedule.steps[-1], writes=(out,))
    return Plan(
        config, n, h, w, dtype, "triton", tuple(schedule.steps), schedule.buffers, features=(out,)
    )  # fmt: skip


def _check(x: Tensor, w1: Tensor, channels: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels:
        raise InputError(f"expected a tensor of shape [N, {channels}, H, W], got {list(x.shape)}")
    if min(x.shape[2:]) < 1:
        raise InputError(f"expected at least one pixel, got {list(x.shape)}")
    if x.dtype != w1.dtype:
        raise InputError(f"expected dtype {w1.dtype}, got {x.dtype}; cast with x.to(...)")
    if x.device != w1.device:
        raise InputError(f"the block is on {w1.device}, but the input is on {x.device}")


def _empty(x: Tensor, out_channels: int, stride: int) -> Tensor:
    """Allocate the output, channels_last."""
    n, _, h, w = x.shape
    return x.new_empty(n, -(-h // stride), -(-w // stride), out_channels).permute(0, 3, 1, 2)


def _refuse(ctx: Any, grad: Tensor) -> None:
    raise InferenceOnlyError(f"backward reached a fused block. {ADVICE}")


block_op = torch.library.custom_op("r2n_kernels::block", _run, mutates_args=(), schema=SCHEMA)
block_op.register_fake(_fake)
block_op.register_autograd(_refuse)
