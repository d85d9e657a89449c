"""A backend runs plans on a device: what each must have, and where those with a name are.

Classes are imported when they are asked for, so `import r2n_kernels` imports neither Triton nor the
emulator. A backend of somebody else's needs no registration: its place, "module:Class", is its
name, as in `create_model(..., backend="my_package.my_module:MyBackend")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..config import Res2NetConfig
from ..errors import ConfigError
from ..kernels.targets import NVIDIA
from ..plan import Plan

Normalization = tuple[Tensor, Tensor]  # scale and shift, [Ci] float32


@runtime_checkable
class Backend(Protocol):
    """A Backend has folded weights on one device in one dtype, safe to call from several threads.

    Made as `Class(config, state, dtype, device)`, where `state` is a canonical state dict. Raises
    ConfigError for a dtype or device that it cannot run on.

    own_kernels: whether it launches kernels of its own, which no graph can hold. Otherwise
    torch.compile and exporters record what `run` does, and leave the head to the modules.
    """

    name: str
    config: Res2NetConfig
    dtype: torch.dtype
    device: torch.device
    own_kernels: bool

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return what a pass does, up to the buffer "logits" or, without classes, "embedding"."""

    def prepare(self, plan: Plan, x: Tensor, normalization: Normalization | None = None) -> None:
        """Compile and allocate what an input like x needs. Raises KernelError."""

    def run(
        self, plan: Plan, x: Tensor, wanted: Sequence[str],
        normalization: Normalization | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Run the plan on x [N, Ci, H, W] until the wanted buffers are final, and return those.

        x has any strides. normalization: for bytes, which become x * scale + shift. Outputs are in
        `dtype`, maps channels_last, and belong to the caller.
        """


# compiled code of these targets, run in an emulator
EMULATED = tuple(f"ptx:{name}" for name in NVIDIA)
PLACES: Mapping[str, str] = MappingProxyType(
    {
        "torch": "r2n_kernels.engine.torch_backend:TorchBackend",
        "triton": "r2n_kernels.engine.triton_backend:TritonBackend",
        "openvino": "r2n_kernels.engine.openvino_backend:OpenVinoBackend",
        **dict.fromkeys(EMULATED, "r2n_kernels.compiled.network:PtxBackend"),
    }
)
BACKENDS = ("auto", *PLACES)
NEEDS: Mapping[str, str] = MappingProxyType(
    {"openvino": "OpenVINO, pip install 'r2n_kernels[openvino]'"}
)


def backend_class(name: str) -> Callable[..., Backend]:
    """Import a backend's class. Raises ConfigError where the name or what it needs is missing."""
    module, _, attribute = PLACES.get(name, name).partition(":")
    unknown = f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}, or a module:Class"
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ConfigError(unknown)
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in PLACES:
            raise ConfigError(
                f"backend '{name}' needs {NEEDS.get(name, 'Triton')}: {error}"
            ) from error
        raise ConfigError(f"{unknown}: {error}") from error
