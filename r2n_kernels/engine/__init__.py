"""Backends: each runs a plan on a device. They share `plan`, `prepare` and `run`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..kernels.targets import TARGETS, target_of
from .torch_backend import TorchBackend
from .triton_options import TritonOptions

if TYPE_CHECKING:
    from ..compiled.network import PtxBackend
    from .triton_backend import TritonBackend

__all__ = ["BACKENDS", "TorchBackend", "TritonOptions", "build_backend", "choose_backend"]

# compiled code of these targets, run in an emulator
EMULATED = tuple(f"ptx:{name}" for name, target in TARGETS.items() if target.backend == "cuda")
BACKENDS = ("auto", "torch", "triton", *EMULATED)

logger = logging.getLogger("r2n_kernels.engine")


def build_backend(
    name: str,
    config: Res2NetConfig,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
    options: TritonOptions | None = None,
) -> TorchBackend | TritonBackend | PtxBackend:
    """Fold and pack canonical weights for a backend; "auto" takes the best one for the device.

    Raises ConfigError for an unknown backend, or a dtype or device that it cannot run on.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}")
    if name not in ("auto", "triton") and options is not None:
        raise ConfigError(f"options of the triton backend were given for backend '{name}'")
    if name == "auto":
        name, reason = choose_backend(device)
        level = logging.INFO if device.type == "cuda" else logging.DEBUG  # a CPU has no choice
        logger.log(level, "backend '%s': %s", name, reason)
    if name == "torch":
        return TorchBackend(config, state, dtype, device)
    if name in EMULATED:
        return _ptx_backend()(config, state, dtype, device, name)
    return _triton_backend()(config, state, dtype, device, options or TritonOptions())


def choose_backend(device: torch.device) -> tuple[str, str]:
    """The backend that "auto" takes on a device, and why."""
    if device.type != "cuda":
        return "torch", f"the kernels need a GPU, the device is {device}"
    target = target_of(device)
    if target is None:
        what = torch.cuda.get_device_name(device)
        return "torch", f"the kernels need compute capability 8.0 or gfx9, this is {what}"
    try:
        _triton_backend()
    except ConfigError as error:
        return "torch", str(error)
    from ..kernels.device import interpreted

    if interpreted():
        return "torch", "TRITON_INTERPRET=1 runs the kernels on the CPU"
    from ..kernels.versions import missing_fence

    # undefined results are no choice to make for somebody: backend="triton" makes it
    if missing := missing_fence(target):
        return "torch", missing
    return "triton", f"{target.chip} ({target.name})"


def _triton_backend() -> type[TritonBackend]:
    """Imports Triton, which `import r2n_kernels` does not."""
    try:
        from .triton_backend import TritonBackend
    except ImportError as error:
        raise ConfigError(f"backend 'triton' needs Triton: {error}") from error
    return TritonBackend


def _ptx_backend() -> type[PtxBackend]:
    try:
        from ..compiled.network import PtxBackend
    except ImportError as error:
        raise ConfigError(f"a backend 'ptx:...' needs Triton: {error}") from error
    return PtxBackend
