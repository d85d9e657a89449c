"""The one timer: subjects interleaved in one process, several rounds, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Samples:
    """Seconds per call of one subject, one a round; round i of every subject ran side by side."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def speedup_over(self, base: Samples) -> float:
        """Median over the rounds of base's time / this one's: drift of the machine cancels."""
        pairs = zip(base.seconds, self.seconds, strict=True)
        return statistics.median(b / s for b, s in pairs)


def interleave(
    subjects: Mapping[str, Callable[[], object]], rounds: int = 7, warmup: int = 2
) -> dict[str, Samples]:
    """Time each subject once a round, in turn; CUDA's queue is empty at both ends of a time."""
    for _ in range(warmup):
        for call in subjects.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, call in subjects.items():
            _drain()
            start = time.perf_counter()
            call()
            _drain()
            seconds[name].append(time.perf_counter() - start)
    return {name: Samples(name, tuple(values)) for name, values in seconds.items()}


def _drain() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
