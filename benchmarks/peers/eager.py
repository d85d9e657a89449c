"""Plain PyTorch, one operator at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from . import Case


def nchw(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    model.to(case.device, case.dtype)
    return model


def channels_last(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    return nchw(model, case).to(memory_format=torch.channels_last)
