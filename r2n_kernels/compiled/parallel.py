"""One launch's CTAs over several processes, on tensors that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from ..emulator import Counters, merge
from ..errors import KernelError
from ..kernels.call import Call
from .build import compile_instance
from .cache import Cache
from .instances import Instance, specialise
from .launcher import Code, arguments, checked_target, translate
from .pool import Pool
from .shared import Place, Shared, bytes_at


@dataclass(frozen=True)
class Part:
    """Some CTAs of a launch. args: numbers, and where the tensors are."""

    code: Code
    grid: int
    args: tuple[Any, ...]
    ctas: range


def run_part(part: Part) -> Counters:
    """Raises EmulationError."""
    args = [bytes_at(a) if isinstance(a, Place) else a for a in part.args]
    return translate(part.code).run((part.grid,), args, track=False, ctas=part.ctas)


class ParallelLauncher:
    """Compiles and runs launches for one target. `memories` hold the tensors of the next ones."""

    def __init__(self, target: str, pool: Pool, cache: Cache | None) -> None:
        """Raises ConfigError (launcher.checked_target)."""
        self.target, self.pool, self.cache = checked_target(target), pool, cache
        self.memories: Sequence[Shared] = ()
        self._codes: dict[Instance, Code] = {}

    def compile(self, calls: Iterable[Call]) -> None:
        """What is not compiled yet, side by side. Raises KernelError naming the instance."""
        wanted = dict.fromkeys(specialise(call, self.target) for call in calls)
        missing = []
        for instance in wanted.keys() - self._codes.keys():
            kept = self.cache.get(instance) if self.cache else None
            if kept is None:
                missing.append(instance)
            else:
                self._codes[instance] = Code.of(instance, kept)
        for instance, answer in self.pool.map(compile_instance, missing):
            if isinstance(answer, KernelError):
                raise KernelError(f"{instance.target} {instance.name}: {answer}")
            if self.cache:
                self.cache.put(instance, answer)
            self._codes[instance] = Code.of(instance, answer)

    def launch(self, calls: Iterable[Call]) -> Counters:
        """Raises KernelError with what the emulator found."""
        return merge(self._launch(call) for call in calls)

    def _launch(self, call: Call) -> Counters:
        instance = specialise(call, self.target)
        if instance not in self._codes:
            self.compile([call])
        args = tuple(self._place(a) for a in arguments(instance, call))
        jobs = min(self.pool.jobs, call.grid)
        cuts = [call.grid * i // jobs for i in range(jobs + 1)]
        code = self._codes[instance]
        parts = [Part(code, call.grid, args, range(*cut)) for cut in pairwise(cuts)]
        found = []
        for _, answer in self.pool.map(run_part, parts):
            if isinstance(answer, KernelError):
                raise KernelError(f"{instance.target} {instance.name}: {answer}")
            found.append(answer)
        return merge(found)

    def _place(self, argument: Any) -> Any:
        if not isinstance(argument, Tensor):
            return argument
        return next(p for p in (m.place(argument) for m in self.memories) if p is not None)
