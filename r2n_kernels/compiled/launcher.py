"""This file gives the code of a compiled instance as the emulator takes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..emulator import Kernel
from ..errors import ConfigError
from ..kernels.call import Call
from ..kernels.targets import TARGETS
from .build import Compiled
from .instances import Instance


@dataclass(frozen=True)
class Code:
    """A Code is a kernel's PTX. shared: bytes per CTA. names: of its parameters, in their order."""

    ptx: str
    shared: int
    warps: int
    names: tuple[str, ...]

    @staticmethod
    def of(instance: Instance, compiled: Compiled) -> Code:
        return Code(
            compiled.texts["ptx"], compiled.facts.shared, instance.warps, instance.parameters
        )

    def arguments(self, call: Call) -> list[Any]:
        """Return a launch's tensors and numbers, in the order of the parameters."""
        return [call.args[name] for name in self.names]


@lru_cache(maxsize=256)
def translate(code: Code) -> Kernel:
    """Translate once for all launches. Raises UnsupportedError naming the instruction."""
    return Kernel(code.ptx, code.shared, code.warps, code.names)


def checked_target(name: str) -> str:
    """Return the name. Raises ConfigError without PTX, and where kernels are only interpreted."""
    if TARGETS[name].backend != "cuda":
        raise ConfigError(f"the emulator runs NVIDIA's PTX, and '{name}' has none")
    from ..kernels.device import interpreted  # here: a bundle's code runs without Triton

    if interpreted():
        raise ConfigError(
            "under TRITON_INTERPRET=1 kernels are interpreted and cannot be compiled; unset it to "
            "run compiled code"
        )
    return name
