"""Outputs of an inference module say so when somebody calls backward on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .errors import InferenceOnlyError
from .tracing import tracing

ADVICE = (
    "r2n_kernels models run inference only. To train or to get gradients, use "
    "r2n_kernels.reference.Res2Net (same parameter names; model.state_dict() loads into it), "
    "then r2n_kernels.from_timm(trained) makes it fast again"
)


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *outputs: Tensor) -> tuple[Tensor, ...]:
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        raise InferenceOnlyError(f"backward reached a model without gradients. {ADVICE}")


def refuse_backward(outputs: list[Tensor]) -> list[Tensor]:
    """The same tensors; where gradients are recorded, a backward pass through them raises.

    A traced graph has no part that could raise: its outputs just have no gradient.
    """
    if not torch.is_grad_enabled() or tracing():
        return outputs
    anchor = torch.empty((), device="cpu", dtype=torch.float32, requires_grad=True)
    return list(_NoBackward.apply(anchor, *outputs))
