"""The twins of a pass's steps run it whole: plain PyTorch on packed weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..engine.precision import exact
from ..engine.triton_ops import allocate, bind, op_of, output
from ..fold.triton_layout import PackedConv
from ..kernels.op import Op
from ..plan import Plan, Step
from .parity import Outputs, named
from .tolerance import Verdict, judge, oracle_dtype

Packed = Mapping[str, PackedConv]


def twin_verdicts(
    ours: Outputs, plan: Plan, x: Tensor, packed: Packed, ops: Callable[[Step], Op] = op_of
) -> list[Verdict]:
    """Hold a pass's outputs for x [N, C, H, W], on the CPU, to the twins' in a wider dtype."""
    eager, truth = (
        twin_outputs(plan, x, packed, dtype, ops) for dtype in (x.dtype, oracle_dtype(x.dtype))
    )
    return [judge(name, ours[name], [eager[name]], truth[name], network=True) for name in truth]


def outputs_of(plan: Plan) -> list[str]:
    """Return the buffers of a pass's outputs, in the order that `named` takes them."""
    last = "logits" if "logits" in plan.buffers else "embedding"
    return [*plan.features, "embedding", last]


def twin_outputs(
    plan: Plan, x: Tensor, packed: Packed, dtype: torch.dtype, ops: Callable[[Step], Op] = op_of
) -> Outputs:
    """Run the twins of a Triton plan's steps in a dtype. Biases stay in float32, or wider."""
    plan = dataclasses.replace(plan, dtype=dtype)
    weights = {step: _in_dtype(conv, dtype) for step, conv in packed.items()}
    buffers = {"input": x.to(dtype), **allocate(plan, x.device)}
    with torch.no_grad(), exact(x.device, torch.float32):
        for step in plan.steps:
            bind(step, buffers, weights, op=ops(step)).run_twin()
    *maps, embedding, logits = (output(plan, name, buffers) for name in outputs_of(plan))
    return named(maps, embedding, logits)


def _in_dtype(conv: PackedConv, dtype: torch.dtype) -> PackedConv:
    cast = conv.changed(lambda tensor: tensor.to(dtype))
    bias = conv.bias.to(torch.promote_types(dtype, torch.float32))
    return dataclasses.replace(cast, bias=bias)
