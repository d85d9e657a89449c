"""This project's network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...create import from_timm

if TYPE_CHECKING:
    from . import Case


def builder(backend: str) -> Callable[[nn.Module, Case], Callable[[Tensor], Tensor]]:
    def build(model: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
        return from_timm(model, backend=backend, dtype=case.dtype, device=case.device)

    return build
