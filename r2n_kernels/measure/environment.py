"""What a self-test or a tuning ran on, for someone who was not there."""

from __future__ import annotations

import platform

import torch
import triton

from ..kernels.targets import target_of
from ..kernels.versions import missing_fence
from ..version import __version__
from .machine import describe_machine
from .provenance import driver


def describe_environment(device: torch.device) -> dict[str, str]:
    """Versions, and the GPU; the processor where the kernels are interpreted."""
    facts = {
        "r2n_kernels": __version__,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    if device.type == "cpu":
        return {**facts, "device": "Triton's interpreter", "processor": describe_machine()}
    target = target_of(device)
    missing = missing_fence(target) if target else ""
    return {
        **facts,
        **({"missing": missing} if missing else {}),
        "device": torch.cuda.get_device_name(device),
        "architecture": "not supported" if target is None else target.name,
        "runtime": f"ROCm {torch.version.hip}"
        if torch.version.hip
        else f"CUDA {torch.version.cuda}",
        "driver": driver(),
    }
