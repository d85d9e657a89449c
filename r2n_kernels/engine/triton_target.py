"""Kernels run on a target: the GPU of a device, or Triton's interpreter."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache

import torch

from ..errors import ConfigError
from ..kernels.targets import INTERPRETER, Target, target_of


@lru_cache(maxsize=16)
def kernel_target(device: torch.device) -> Target:
    """Return the GPU, or Triton's interpreter. Raises ConfigError where the kernels do not run."""
    # here: `current` needs no Triton
    from ..kernels.device import interpreted
    from ..kernels.versions import served

    if interpreted():
        if device.type != "cpu":
            raise ConfigError(f"TRITON_INTERPRET=1 runs kernels on the CPU, got device {device}")
        return INTERPRETER
    target = target_of(device)
    if target is None:
        what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"device {device}"
        raise ConfigError(
            f"backend 'triton' needs an NVIDIA GPU of compute capability 8.0 or newer, or an AMD "
            f"gfx9 GPU, got {what}; on the CPU TRITON_INTERPRET=1 runs it in Triton's interpreter"
        )
    return served(target)


def current(device: torch.device) -> AbstractContextManager[None]:
    """Make the device current: Triton launches there."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
