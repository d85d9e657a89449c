"""Each backend runs a plan on a device."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..fold.quantization import Quantization
from ..kernels.targets import target_of
from .backend import BACKENDS, EMULATED, Backend, backend_class
from .triton_options import TritonOptions

__all__ = [
    "BACKENDS",
    "EMULATED",
    "Backend",
    "TritonOptions",
    "backend_class",
    "build_backend",
    "choose_backend",
]

TRITON = ("triton", *EMULATED)  # which take its options
logger = logging.getLogger("r2n_kernels.engine")


def build_backend(
    name: str,
    config: Res2NetConfig,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: torch.device,
    triton: TritonOptions | None = None,
    low_memory: bool = False,
    quantization: Quantization | None = None,
) -> Backend:
    """Fold and pack canonical weights for a backend.

    name: one of BACKENDS, of which "auto" takes the best one for the device, or the "module:Class"
    of another. low_memory: keep what is seldom read in a file. quantization: of the weights;
    "openvino" alone runs it, which "auto" then must be on a CPU, and others run the weights. Raises
    ConfigError for an unknown backend, or a dtype or device that it cannot run; WeightsError for a
    quantization of other weights.
    """
    if triton is not None and name not in ("auto", *TRITON):
        raise ConfigError(f"options of the triton backend were given for backend '{name}'")
    if name == "auto":
        name, reason = choose_backend(device, dtype)
        if quantization is not None and device.type == "cpu" and name != "openvino":
            raise ConfigError(
                f"the weights are quantized for OpenVINO ({reason}): pip install "
                "'r2n_kernels[openvino]', or take backend='torch' for float32"
            )
        no_choice = device.type == "cpu" and find_spec("openvino") is None
        level = logging.DEBUG if no_choice else logging.INFO
        logger.log(level, "backend '%s': %s", name, reason)
    beside: dict[str, Any] = {}
    if triton is not None and triton.int8 is not None and name not in TRITON:
        raise ConfigError(
            f"TritonOptions(int8=...) is for backend 'triton', and 'auto' takes '{name}' here"
        )
    if name in EMULATED:
        beside["name"] = name
    if name in TRITON and triton is not None:  # "auto" may have come to another
        beside["options"] = triton
    if name == "openvino":
        beside |= {"low_memory": low_memory, "quantization": quantization}
    if quantization is not None and triton is not None and triton.int8 is not None:
        raise ConfigError(
            "the weights are quantized for OpenVINO, and TritonOptions(int8=...) asks for other "
            "int8: take one of them"
        )
    if quantization is not None:
        runs = name == "openvino"
        what = "int8, as the weights are quantized" if runs else "not int8, but the float weights"
        logger.info("backend '%s' runs %s", name, what)
    backend = backend_class(name)(config, state, dtype, device, **beside)
    if not isinstance(backend, Backend):
        raise ConfigError(f"backend '{name}' lacks a part of r2n_kernels.engine.Backend")
    return backend


def choose_backend(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[str, str]:
    """Return the backend that "auto" takes on a device, and why."""
    if device.type == "cpu":
        return _choose_on_cpu(device, dtype)
    if device.type != "cuda":
        return "torch", f"the kernels need a GPU, the device is {device}"
    target = target_of(device)
    if target is None:
        what = torch.cuda.get_device_name(device)
        return "torch", f"the kernels need compute capability 8.0 or gfx9, this is {what}"
    try:
        backend_class("triton")
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


def _choose_on_cpu(device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    if find_spec("openvino") is None:
        return "torch", "OpenVINO, which is faster on a CPU, is not installed"
    try:
        backend_class("openvino")
    except ConfigError as error:
        return "torch", str(error)
    from .openvino_compile import unsupported

    if reason := unsupported(dtype, device):
        return "torch", reason
    return "openvino", "it is installed, and the fastest on a CPU"
