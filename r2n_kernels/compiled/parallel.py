"""Launches in the emulator are each spread over the processes of a pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from torch import Tensor

from ..bundle import Bundle, manifest
from ..errors import KernelError
from ..kernels.call import Call
from .build import Cache, compile_all
from .instances import Instance, specialise
from .launcher import Code, checked_target, translate
from .pool import Pool
from .shared import Place, Shared, bytes_at


@dataclass(frozen=True)
class Part:
    """A Part is some CTAs of a launch. args: numbers, and where the tensors are."""

    code: Code
    grid: int
    args: tuple[Any, ...]
    ctas: range


def run_part(part: Part) -> None:
    """Run in this worker. Raises EmulationError."""
    args = [bytes_at(a) if isinstance(a, Place) else a for a in part.args]
    translate(part.code).run((part.grid,), args, track=False, ctas=part.ctas)


class Codes(Protocol):
    """Codes tell where the code of launches comes from, for one target."""

    target: str

    def compile(self, calls: Iterable[Call]) -> None:
        """Get what is not there yet. Raises KernelError naming what does not compile."""

    def of(self, call: Call) -> Code:
        """Return the code of a launch."""


class CompiledCodes:
    """CompiledCodes give code that Triton compiles here."""

    def __init__(self, target: str, pool: Pool, cache: Cache | None) -> None:
        """Raise ConfigError for a target that `checked_target` refuses."""
        self.target, self.pool, self.cache = checked_target(target), pool, cache
        self._codes: dict[Instance, Code] = {}

    def compile(self, calls: Iterable[Call]) -> None:
        wanted = {specialise(call, self.target) for call in calls} - self._codes.keys()
        for instance, answer, _ in compile_all(wanted, self.pool, self.cache):
            if isinstance(answer, KernelError):
                raise KernelError(f"{instance.target} {instance.name}: {answer}")
            self._codes[instance] = Code.of(instance, answer)

    def of(self, call: Call) -> Code:
        instance = specialise(call, self.target)
        if instance not in self._codes:
            self.compile([call])
        return self._codes[instance]


class BundledCodes:
    """BundledCodes give code that a bundle has."""

    def __init__(self, target: str, bundle: Bundle) -> None:
        self.target, self._bundle = target, bundle
        self._codes: dict[manifest.Code, Code] = {}

    def compile(self, calls: Iterable[Call]) -> None:
        for call in calls:
            self.of(call)

    def of(self, call: Call) -> Code:
        code = call.kernel.code
        if code not in self._codes:
            self._codes[code] = emulated(code, self._bundle)
        return self._codes[code]


def emulated(code: manifest.Code, bundle: Bundle) -> Code:
    """Return a bundle's code as the emulator takes it."""
    names = tuple(name for name, _ in code.parameters if name)
    return Code(bundle.file.text(code.ptx), code.shared, code.warps, names)


class ParallelLauncher:
    """A ParallelLauncher runs each launch on all processes of a pool."""

    def __init__(self, codes: Codes, pool: Pool) -> None:
        self.codes, self.pool = codes, pool

    def launch(self, call: Call, memories: Sequence[Shared]) -> None:
        """Run a launch, whose tensors lie in `memories`. Raises KernelError with what was found."""
        if not call.grid:
            return
        code = self.codes.of(call)
        args = tuple(_placed(argument, memories) for argument in code.arguments(call))
        jobs = min(self.pool.jobs, call.grid)
        cuts = [call.grid * i // jobs for i in range(jobs + 1)]
        parts = [Part(code, call.grid, args, range(*cut)) for cut in pairwise(cuts)]
        for _, answer in self.pool.map(run_part, parts):
            if isinstance(answer, KernelError):
                raise KernelError(f"{self.codes.target} {call.name}: {answer}")


def _placed(argument: Any, memories: Sequence[Shared]) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    places = (memory.place(argument) for memory in memories)
    return next(place for place in places if place is not None)
