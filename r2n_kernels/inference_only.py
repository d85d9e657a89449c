"""Outputs of an inference module say so when somebody calls backward on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from .errors import InferenceOnlyError

ADVICE = (
    "r2n_kernels models run inference only. To train or to get gradients, use "
    "r2n_kernels.reference.Res2Net (same parameter names; model.state_dict() loads into it), "
    "then r2n_kernels.from_timm(trained) makes it fast again"
)


class _NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors[-count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        raise InferenceOnlyError(f"backward reached a model without gradients. {ADVICE}")

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, ...]:
        raise InferenceOnlyError(f"a tangent reached a model without gradients. {ADVICE}")


def has_gradient(tensor: Tensor) -> bool:
    """Return whether somebody wants the derivative by this tensor, backward or forward."""
    return tensor.requires_grad or unpack_dual(tensor).tangent is not None


def refuse_gradients(sources: list[Tensor], outputs: list[Tensor]) -> list[Tensor]:
    """Return views of `outputs`: a gradient on its way through them to the sources raises."""
    return list(_NoGradient.apply(len(outputs), *sources, *outputs))
