"""What the emulator needs of a compiled instance, and of a launch of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..emulator import Kernel
from ..errors import ConfigError
from ..kernels.call import Call
from ..kernels.device import interpreted
from ..kernels.targets import TARGETS
from .build import Compiled
from .instances import Instance


@dataclass(frozen=True)
class Code:
    """The code of an instance. shared: bytes per CTA. names: of its arguments, in order."""

    ptx: str
    shared: int
    warps: int
    names: tuple[str, ...]

    @staticmethod
    def of(instance: Instance, compiled: Compiled) -> Code:
        names = tuple(name for name, kind in instance.signature if kind != "constexpr")
        return Code(compiled.texts["ptx"], compiled.facts.shared, instance.warps, names)


@lru_cache(maxsize=256)
def translate(code: Code) -> Kernel:
    """Translate once for all launches. Raises UnsupportedError naming the instruction."""
    return Kernel(code.ptx, code.shared, code.warps, code.names)


def arguments(instance: Instance, call: Call) -> list[Any]:
    """Return the launch's tensors and numbers, in the order of the compiled kernel's parameters."""
    return [call.args[name] for name, kind in instance.signature if kind != "constexpr"]


def checked_target(name: str) -> str:
    """Return the name. Raises ConfigError without PTX, and where kernels are only interpreted."""
    if TARGETS[name].backend != "cuda":
        raise ConfigError(f"the emulator runs NVIDIA's PTX, and '{name}' has none")
    if interpreted():
        raise ConfigError(
            "under TRITON_INTERPRET=1 kernels are interpreted and cannot be compiled; unset it to "
            "run compiled code"
        )
    return name
