"""The plan: config + input shape + dtype -> an ordered, frozen list of steps over named buffers.

It is the single source of geometry, multiply-accumulates, bytes and launches: the engine runs it,
benchmarks and rooflines read it, and nobody types a geometry by hand.
"""

from __future__ import annotations

import torch

from ..config import MIN_SIZE, Res2NetConfig
from ..errors import ConfigError
from .torch_schedule import TorchSchedule
from .types import Buffer, ConvGeometry, Launch, Plan, Step

__all__ = ["Buffer", "ConvGeometry", "Launch", "Plan", "Step", "build_plan"]


def build_plan(
    config: Res2NetConfig,
    batch: int,
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    backend: str = "torch",
) -> Plan:
    """Plan a forward pass of `batch` images of `height` x `width` pixels.

    Raises ConfigError for a size under 32 pixels, a negative batch or an unknown backend.
    """
    if min(height, width) < MIN_SIZE:
        raise ConfigError(f"images must be at least {MIN_SIZE}x{MIN_SIZE}, got {height}x{width}")
    if batch < 0:
        raise ConfigError(f"batch must be 0 or more, got {batch}")
    if backend != "torch":
        raise ConfigError(f"no plan for backend '{backend}'; expected 'torch'")
    return TorchSchedule(config, batch, height, width, dtype).plan()
