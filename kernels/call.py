"""A `Call` is a launch of a kernel with its arguments: to run, to capture, or to compile ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# Rows are counted in 32 bits, to the end of the last tile (of 4096 at most); elements in 64.
MAX_ROWS = 2**31 - 2**12

# Triton's interpreter keeps the number of the program that runs in one place for all threads
INTERPRETING = threading.Lock()

Arguments = dict[str, Tensor | int]  # of a kernel, by the names of its parameters


@dataclass(frozen=True)
class Call:
    """It launches `grid` programs of a Triton kernel. Compiled ahead, it may have meta tensors."""

    kernel: Any  # triton's JITFunction, or its InterpretedFunction under TRITON_INTERPRET=1
    grid: int
    args: Mapping[str, Tensor | int]
    constants: Mapping[str, Any]
    warps: int
    registers: int = 0  # most a thread may use; 0: the compiler decides

    @property
    def name(self) -> str:
        return self.kernel.__name__

    @property
    def options(self) -> dict[str, int]:
        """Return Triton's compile options."""
        return triton_options(self.warps, self.registers)

    def launch(self) -> None:
        """Run on the current device and stream; nothing for an empty grid."""
        from .device import interpreted  # here: plans are made of this file, and need no Triton

        if not self.grid:
            return
        with INTERPRETING if interpreted() else nullcontext():
            self.kernel[(self.grid,)](**self.args, **self.constants, **self.options)

    def compile(self) -> None:
        """Compile for the current device and load the binary there, without running.

        Only loading shows whether it fits: Triton raises OutOfResources then, every time. Nothing
        to do for the interpreter.
        """
        from .device import interpreted

        if interpreted():
            return
        compiled = self.kernel.warmup(
            **self.args, **self.constants, **self.options, grid=(max(self.grid, 1),)
        )
        # loads it where it is not loaded yet; `compiled.run` would keep a second failure to itself
        _ = compiled[(1, 1, 1)]


Calls = tuple[Call, ...]


def triton_options(warps: int, registers: int) -> dict[str, int]:
    """Return these by the names of Triton's compile options."""
    return {"num_warps": warps} | ({"maxnreg": registers} if registers else {})


def launch(calls: Iterable[Call]) -> None:
    for call in calls:
        call.launch()
