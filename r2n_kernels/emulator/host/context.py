"""`with emulator(arch=90):` every Triton launch in it runs in the emulator, on CPU tensors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..batch import LOCKSTEP, SCHEDULES
from ..counters import Counters
from ..errors import EmulationError
from ..kernel import Kernel
from ..launch import MAX_STEPS
from .autotune import CONFIGS, untimed
from .devices import device_of
from .driver import Driver, active
from .pointers import reached
from .progress import told

if TYPE_CHECKING:
    from .torch_mode import HostMode

REPORTED, FILLED = EMPTY = ("report", "fill")


@dataclass(frozen=True)
class LaunchRecord:
    """A LaunchRecord is one launch that ended, and what it counted."""

    name: str
    grid: tuple[int, ...]
    counters: Counters
    seconds: float
    kernel: Kernel


class Emulation:
    """An Emulation is what `emulator` opens. launches: those that ended, in their order.

    It holds for the whole process: launches of all threads go to the one that was opened last. Open
    and close it in one thread.
    """

    def __init__(
        self, arch: int | str, *, schedule: str, seed: int, strict: bool, track: bool,
        configs: str, progress: bool, cuda_as_cpu: bool, empty: str, max_steps: int,
    ) -> None:  # fmt: skip
        for option, value, known in (
            ("schedule", schedule, SCHEDULES), ("configs", configs, CONFIGS),
            ("empty", empty, EMPTY),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"unknown {option} '{value}'; expected one of {', '.join(known)}")
        self.device = device_of(arch)
        self.launches: list[LaunchRecord] = []
        self._options: dict[str, Any] = {
            "schedule": schedule, "seed": seed, "strict": strict, "track": track,
            "max_steps": max_steps,
        }  # fmt: skip
        self._configs, self._progress, self._empty = configs, progress, empty
        self.cuda_as_cpu = cuda_as_cpu
        self._mode: HostMode | None = None
        self._opened: ExitStack | None = None

    def __enter__(self) -> Emulation:
        if interpreted():
            raise EmulationError(
                "under TRITON_INTERPRET=1 kernels are interpreted, not compiled; unset it to "
                "emulate them"
            )
        if self._opened is not None:
            raise EmulationError("this emulation is open; make another one with emulator(...)")
        with ExitStack() as stack:
            stack.enter_context(active(Driver(self)))
            stack.enter_context(untimed(self._configs))
            if find_spec("torch") is not None:
                self._watch(stack)
            self._opened = stack.pop_all()
        return self

    def _watch(self, stack: ExitStack) -> None:
        """See what host code does in torch."""
        from .blank import Blanks
        from .cuda import as_cpu
        from .torch_mode import HostMode, seen_backward

        if self.cuda_as_cpu:
            stack.enter_context(as_cpu(self.device))
        self._mode = HostMode(Blanks(), cuda_as_cpu=self.cuda_as_cpu)
        stack.enter_context(self._mode)
        stack.enter_context(seen_backward(self._mode))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def launch(self, name: str, kernel: Kernel, grid: tuple[int, ...], args: Sequence[Any]) -> None:
        """Run a launch and keep what it counted. Raises EmulationError."""
        start, total = time.perf_counter(), prod(grid)
        with ExitStack() as stack:
            note: Callable[[int], None] | None = None
            empty: dict[int, Any] = {}
            memory: list[Any] = []
            if self._mode is not None:
                stack.enter_context(self._mode.paused())
                memory = reached(args)
                if self._empty == REPORTED:
                    empty = self._mode.blanks.of_arguments(args)
            if self._progress:
                note = stack.enter_context(told(name, total))
            counters = kernel.run(
                grid, args, progress=note, empty=empty, memory=memory, **self._options
            )
        seconds = time.perf_counter() - start
        self.launches.append(LaunchRecord(name, grid, counters, seconds, kernel))


def interpreted() -> bool:
    """Return whether Triton is asked to interpret kernels, in place of compiling them."""
    return os.environ.get("TRITON_INTERPRET", "0") in ("1", "true", "on", "yes")


def emulator(
    arch: int | str = 90, *, schedule: str = LOCKSTEP, seed: int = 0, strict: bool = True,
    track: bool = True, configs: str = "first", progress: bool = True, cuda_as_cpu: bool = False,
    empty: str = "report", max_steps: int = MAX_STEPS,
) -> Emulation:  # fmt: skip
    """Return a context in which Triton's launches run in the emulator, on CPU tensors, unchanged.

        with emulator(arch=90) as emu:
            kernel[grid](x, y, n, BLOCK=128)
        emu.launches[-1].counters

    arch: 80, 86, 89, 90, 100 or 120, also as "sm_90". schedule, seed, strict, track, max_steps: see
    Kernel.run. configs: of an autotuned kernel "first" runs the first configuration that compiles
    and fits the device, "all" checks every one; none is timed. progress: launches that take
    longer than 5 s say how far they are, on stderr. cuda_as_cpu: host code may ask for "cuda":
    tensors for it lie on the CPU and say they are on cuda:0, and torch.cuda answers for the
    emulated device. empty: what `torch.empty` returns in this thread is filled with NaNs; "report"
    also takes reading it for an error, "fill" leaves it to the numbers, for kernels that read more
    than they make use of. Raises ValueError for what an option does not know, and EmulationError
    under TRITON_INTERPRET=1.
    """
    return Emulation(
        arch, schedule=schedule, seed=seed, strict=strict, track=track, configs=configs,
        progress=progress, cuda_as_cpu=cuda_as_cpu, empty=empty, max_steps=max_steps,
    )  # fmt: skip
