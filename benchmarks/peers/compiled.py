"""torch.compile at its best: weights frozen on the CPU, tuned kernels and CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from . import eager

if TYPE_CHECKING:
    from . import Case


def build(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    """Compiled when it is first called, which takes about a minute."""
    model = eager.channels_last(model, case)
    if case.device.type == "cuda":
        return torch.compile(model, mode="max-autotune")
    return torch.compile(model, options={"freezing": True})
