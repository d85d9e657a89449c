"""Launches of the package's kernels, run from the code that is compiled for a target."""

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
    """What the emulator needs of a compiled instance. shared: bytes a CTA; names: of arguments."""

    ptx: str
    shared: int
    warps: int
    names: tuple[str, ...]

    @staticmethod
    def of(instance: Instance, compiled: Compiled) -> Code:
        names = tuple(parameters(instance))
        return Code(compiled.texts["ptx"], compiled.facts.shared, instance.warps, names)


@lru_cache(maxsize=256)
def translate(code: Code) -> Kernel:
    """Once for all launches. Raises UnsupportedError naming the instruction."""
    return Kernel(code.ptx, code.shared, code.warps, code.names)


def parameters(instance: Instance) -> list[str]:
    """What the compiled kernel takes, in order."""
    return [name for name, kind in instance.signature if kind != "constexpr"]


def arguments(instance: Instance, call: Call) -> list[Any]:
    """The launch's tensors and numbers, in the order of the compiled kernel's parameters."""
    return [call.args[name] for name in parameters(instance)]


def checked_target(name: str) -> str:
    """Raises ConfigError for a target without PTX, and where kernels are only interpreted."""
    if TARGETS[name].backend != "cuda":
        raise ConfigError(f"the emulator runs NVIDIA's PTX, and '{name}' has none")
    if interpreted():
        raise ConfigError(
            "under TRITON_INTERPRET=1 kernels are interpreted and cannot be compiled; unset it to "
            "run compiled code"
        )
    return name
