"""An `Op` says what the rest of the project knows about a kernel; `all_ops` finds every one.

A new op is a file of this folder with a kernel, a launcher, a contract and an `Op`, a twin of its
name in `reference.twins`, and a step of the schedule.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from .call import Calls

Faults = Iterator[str]


@dataclass(frozen=True)
class Op:
    """A launcher with its contract, and what the launcher's parameters are to a plan.

    contract: takes what the launcher takes, and yields what is wrong with it. Nobody reads on after
    the first fault, so that later lines rely on earlier ones.
    A step gives its tensors in the order of `tensors`: what it reads, what it writes, its weights.
    """

    launcher: Callable[..., Calls]
    contract: Callable[..., Faults]
    reads: tuple[str, ...]
    writes: tuple[str, ...]  # one that is updated in place is in both
    weights: tuple[str, ...] = ("w", "b")  # and where there is one, the shortcut's weight
    kernel_options: tuple[str, ...] = ()  # they change how the result is computed, not the result
    float32: tuple[str, ...] = ("b",)  # tensors that are float32 whatever the rest is
    half: bool = False  # whether plans take it in 16 bits alone
    gluon: bool = False  # whether kernels are written in Gluon, which few targets run
    raw: str = ""  # the tensor that may also be of bytes, and have any strides

    @property
    def name(self) -> str:
        return self.launcher.__name__

    @property
    def tensors(self) -> tuple[str, ...]:
        return (*self.reads, *self.writes, *self.weights)

    def twin_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that say what is computed, which the twin takes too."""
        return {name: v for name, v in options.items() if name not in self.kernel_options}


@cache
def all_ops() -> Mapping[str, Op]:
    """Import the files of this folder, and return their ops by name, file by file."""
    names = [file.name for file in pkgutil.iter_modules(import_module(".", __package__).__path__)]
    # not `ops`: its import registers operators with torch, which is for its importers to ask
    modules = [import_module(f".{name}", __package__) for name in names if name != "ops"]
    records = [value for module in modules for value in vars(module).values()]
    return {op.name: op for op in records if isinstance(op, Op)}
