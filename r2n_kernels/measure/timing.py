"""There is one timer: subjects take turns in one process, for several rounds; medians count.

On the CPU torch.utils.benchmark times calls by the wall clock, in blocks where they are short. On
a GPU triton's do_bench times them by CUDA events, with the L2 cache flushed before each. Meanwhile
the host gets ahead, so that its own work does not show: what a caller waits for is the wall clock's
time of one call at a time, which is taken beside it.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

Call = Callable[[], object]
Clock = Callable[[], tuple[float, ...]]  # seconds of calls, one or more
Rounds = tuple[tuple[float, ...], ...]

SECONDS = 0.2  # a round goes on with a subject for at least as long
WALL_SHARE = 0.25  # of that, once more by the wall clock
GPU_WARMUP = 0.01  # seconds of calls before each round
WARMUP = 2  # calls before the first round: the second may pack weights or capture a graph


@dataclass(frozen=True)
class Samples:
    """Samples are one subject's seconds per call, by round; round i of each ran side by side.

    On a GPU, if asked for, also by the wall clock, one call at a time: `wall` until the GPU is
    done, `host` until the call returned, having launched its work.
    """

    name: str
    rounds: Rounds
    wall: Rounds = ()
    host: Rounds = ()

    @property
    def medians(self) -> tuple[float, ...]:
        """Return the median of each round."""
        return tuple(map(statistics.median, self.rounds))

    @property
    def median(self) -> float:
        return statistics.median(self.medians)

    def speedup_over(self, base: Samples) -> float:
        """Return the median over rounds of base's time / this one's, so that drift cancels."""
        pairs = zip(base.medians, self.medians, strict=True)
        return statistics.median(b / s for b, s in pairs)


def interleave(
    subjects: Mapping[str, Call],
    rounds: int = 7,
    *,
    device: torch.device | None = None,
    seconds: float = SECONDS,
    wall: bool = False,
) -> dict[str, Samples]:
    """Time each subject once per round, in turn, for at least `seconds`, or one call.

    wall: on a GPU time by the wall clock too, for WALL_SHARE of that, or one call.
    """
    gpu = device is not None and device.type == "cuda"
    clock = gpu_clock if gpu else cpu_clock
    clocks = {name: clock(call, seconds) for name, call in subjects.items()}
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in subjects}
    waits: dict[str, list[tuple[tuple[float, ...], ...]]] = {name: [] for name in subjects}
    with current(device):
        for _ in range(WARMUP):
            for call in subjects.values():
                call()
        for _ in range(rounds):
            for name, sample in clocks.items():
                found[name].append(sample())
                if gpu and wall:
                    waits[name].append(wall_clock(subjects[name], seconds * WALL_SHARE))
    return {
        name: Samples(name, tuple(found[name]), *zip(*waits[name], strict=True))
        for name in subjects
    }


@contextmanager
def cpu_threads(count: int | None) -> Iterator[int]:
    """Let torch use `count` threads for a while; None: as many as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield count or before
    finally:
        torch.set_num_threads(before)


def current(device: torch.device | None) -> AbstractContextManager:
    """Put events and launches without a device of their own on this GPU."""
    gpu = device is not None and device.type == "cuda"
    return torch.cuda.device(device) if gpu else nullcontext()


def cpu_clock(call: Call, seconds: float) -> Clock:
    """Return a clock of calls on as many threads as torch has now."""
    timer = _timer_class()("call()", globals={"call": call}, num_threads=torch.get_num_threads())

    def sample() -> tuple[float, ...]:
        measured = timer.blocked_autorange(min_run_time=seconds)
        return tuple(time / measured.number_per_run for time in measured.raw_times)

    return sample


def _timer_class() -> type:
    """Import torch's Timer, without the warning of a CUDA compiler that has no GPU."""
    builder = logging.getLogger("torch.utils.cpp_extension")  # which it imports, but does not use
    level = builder.level
    builder.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        builder.setLevel(level)
    return Timer


def gpu_clock(call: Call, seconds: float) -> Clock:
    """Return a clock of calls on the current device, by CUDA events."""
    from triton.testing import do_bench  # here: the CPU needs no Triton

    def sample() -> tuple[float, ...]:
        times = do_bench(call, warmup=GPU_WARMUP * 1e3, rep=seconds * 1e3, return_mode="all")
        return tuple(milliseconds / 1e3 for milliseconds in times)

    return sample


def wall_clock(call: Call, seconds: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time calls one at a time: until the current device is done, and until the call returned."""
    wait, now = torch.cuda.synchronize, time.perf_counter
    wall: list[float] = []
    host: list[float] = []
    wait()
    end = now() + seconds
    while not wall or now() < end:
        start = now()
        call()
        host.append(now() - start)
        wait()
        wall.append(now() - start)
    return tuple(wall), tuple(host)


def captured(call: Call) -> Call:
    """Return `call`, which has run before, as a CUDA graph, as in serving.

    Else the time of a short kernel would be that of its launch.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        call()
    return graph.replay
