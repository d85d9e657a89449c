"""Launches of the package's kernels, run from the code that is compiled for a target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..aot.cache import Cache
from ..aot.compile import Compiled, compile_instance
from ..aot.instances import Instance, specialise
from ..emulator import Kernel
from ..errors import ConfigError
from ..kernels.call import Call
from ..kernels.device import interpreted
from ..kernels.targets import TARGETS

EMULATED = tuple(name for name, target in TARGETS.items() if target.backend == "cuda")


@dataclass(frozen=True)
class Code:
    """What the emulator needs of a compiled instance. shared: bytes a CTA."""

    ptx: str
    shared: int
    warps: int

    @staticmethod
    def of(instance: Instance, compiled: Compiled) -> Code:
        return Code(compiled.texts["ptx"], compiled.facts.shared, instance.warps)


@lru_cache(maxsize=256)
def translate(code: Code) -> Kernel:
    """Once for all launches. Raises UnsupportedError naming the instruction."""
    return Kernel(code.ptx, code.shared, code.warps)


def arguments(instance: Instance, call: Call) -> list[Any]:
    """The launch's tensors and numbers, in the order of the compiled kernel's parameters."""
    return [call.args[name] for name, kind in instance.signature if kind != "constexpr"]


def checked_target(name: str) -> str:
    """Raises ConfigError for a target without PTX, and where kernels are only interpreted."""
    if name not in EMULATED:
        raise ConfigError(f"the emulator runs code for {', '.join(EMULATED)}, got '{name}'")
    if interpreted():
        raise ConfigError(
            "under TRITON_INTERPRET=1 kernels are interpreted and cannot be compiled; unset it to "
            "run compiled code"
        )
    return name


class Compiler:
    """Code of instances of one target, compiled in this process when it is first asked for."""

    def __init__(self, target: str, cache: Cache | None) -> None:
        """Raises ConfigError (see checked_target)."""
        self.target, self.cache = checked_target(target), cache
        self._codes: dict[Instance, Code] = {}

    def code(self, call: Call) -> tuple[Instance, Code]:
        """Of a launch. Raises whatever Triton, LLVM or ptxas raise."""
        instance = specialise(call, self.target)
        if instance not in self._codes:
            compiled = self.cache.get(instance) if self.cache else None
            if compiled is None:
                compiled = compile_instance(instance)
                if self.cache:
                    self.cache.put(instance, compiled)
            self._codes[instance] = Code.of(instance, compiled)
        return instance, self._codes[instance]
