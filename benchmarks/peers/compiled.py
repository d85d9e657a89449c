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
    """Compiled for the case's very shape, here and now: it takes about a minute."""
    model = eager.channels_last(model, case)
    torch._dynamo.reset()  # else a second batch size is compiled as one of any size
    if case.device.type == "cuda":
        compiled = torch.compile(model, mode="max-autotune", dynamic=False)
    else:
        compiled = torch.compile(model, options={"freezing": True}, dynamic=False)
    compiled(case.x.contiguous(memory_format=torch.channels_last))
    return compiled
