"""Backends: each runs a plan on a device. They share one call, `run(plan, x, wanted)`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from .torch_backend import TorchBackend

__all__ = ["BACKENDS", "TorchBackend", "build_backend"]

BACKENDS = ("auto", "torch")


def build_backend(
    name: str,
    config: Res2NetConfig,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
) -> TorchBackend:
    """Fold and pack canonical weights for a backend; "auto" takes the best one for the device.

    Raises ConfigError for an unknown backend, or a dtype that the device cannot run.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}")
    return TorchBackend(config, state, dtype, device)
