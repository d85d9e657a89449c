"""The one timer: subjects interleaved in one process, several rounds, medians.

On the CPU torch.utils.benchmark times calls by the wall clock, in blocks where they are short. On a
GPU triton's do_bench times them by CUDA events, with the L2 cache flushed before each.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Call = Callable[[], object]
Clock = Callable[[], tuple[float, ...]]  # seconds of calls, one or more

SECONDS = 0.2  # a round goes on with a subject for at least as long
WARMUP = 2  # calls before the first round: the second may pack weights or capture a graph


@dataclass(frozen=True)
class Samples:
    """Seconds a call of one subject, by round; round i of every subject ran side by side."""

    name: str
    rounds: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> tuple[float, ...]:
        """Of each round."""
        return tuple(map(statistics.median, self.rounds))

    @property
    def median(self) -> float:
        return statistics.median(self.medians)

    def speedup_over(self, base: Samples) -> float:
        """Median over the rounds of base's time / this one's: drift of the machine cancels."""
        pairs = zip(base.medians, self.medians, strict=True)
        return statistics.median(b / s for b, s in pairs)


def interleave(
    subjects: Mapping[str, Call],
    rounds: int = 7,
    *,
    device: torch.device | None = None,
    seconds: float = SECONDS,
) -> dict[str, Samples]:
    """Time each subject once a round, in turn, for at least `seconds`, or one call."""
    clock = gpu_clock if device is not None and device.type == "cuda" else cpu_clock
    clocks = {name: clock(call, seconds) for name, call in subjects.items()}
    for _ in range(WARMUP):
        for call in subjects.values():
            call()
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, sample in clocks.items():
            found[name].append(sample())
    return {name: Samples(name, tuple(values)) for name, values in found.items()}


def cpu_clock(call: Call, seconds: float) -> Clock:
    """Runs on as many threads as torch has now."""
    timer = _timer_class()("call()", globals={"call": call}, num_threads=torch.get_num_threads())

    def sample() -> tuple[float, ...]:
        measured = timer.blocked_autorange(min_run_time=seconds)
        return tuple(time / measured.number_per_run for time in measured.raw_times)

    return sample


def _timer_class() -> type:
    """torch's Timer, without the warning of a CUDA compiler that has no GPU."""
    builder = logging.getLogger("torch.utils.cpp_extension")  # which it imports, but does not use
    level = builder.level
    builder.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        builder.setLevel(level)
    return Timer


def gpu_clock(call: Call, seconds: float, warmup: float = 0.01) -> Clock:
    """On the current device."""
    from triton.testing import do_bench  # here: the CPU needs no Triton

    def sample() -> tuple[float, ...]:
        times = do_bench(call, warmup=warmup * 1e3, rep=seconds * 1e3, return_mode="all")
        return tuple(milliseconds / 1e3 for milliseconds in times)

    return sample


def captured(call: Call) -> Call:
    """`call`, which has run before, as a CUDA graph: as in serving.

    A short kernel would else be timed by its launch.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        call()
    return graph.replay
