"""This file counts how many values of a tensor are NaN or infinite."""

from __future__ import annotations

import torch
from torch import Tensor


def count_not_finite(tensor: Tensor) -> int:
    """Count them, in one quick pass where there are none: the extremes of a tensor say so."""
    if tensor.numel() == 0:
        return 0
    extremes = torch.stack(torch.aminmax(tensor))
    return 0 if extremes.isfinite().all() else int((~tensor.isfinite()).sum())
