"""Global pooling makes one vector per image of a feature map."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..config import pool_kind

_POOLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean(dim=(2, 3)),
    "max": lambda x: x.amax(dim=(2, 3)),
    "avgmax": lambda x: 0.5 * (x.mean(dim=(2, 3)) + x.amax(dim=(2, 3))),
    "catavgmax": lambda x: torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1),
    "": lambda x: x,
}


class GlobalPool(nn.Module):
    """Pool [N, C, H, W] to [N, C], to [N, 2 C] for "catavgmax", or return the map itself for ""."""

    def __init__(self, pool_type: str = "avg") -> None:
        """Take a `pool_type` by timm's name, see `config.POOLS`; "fast" has no effect here."""
        super().__init__()
        self.pool_type = pool_type

    def forward(self, x: Tensor) -> Tensor:
        return _POOLS[pool_kind(self.pool_type)](x)

    def is_identity(self) -> bool:
        return not self.pool_type

    def feat_mult(self) -> int:
        """Return how many vectors of C values the classifier reads."""
        return 2 if pool_kind(self.pool_type) == "catavgmax" else 1

    def extra_repr(self) -> str:
        return f"pool_type={self.pool_type!r}"
