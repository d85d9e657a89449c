"""The GPU's clock."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from ...measure.timing import captured, gpu_clock

REPEAT_SECONDS = 0.05


def gpu_timer(run: Callable[[], None]) -> float:
    """Median milliseconds of `run`, which has run before, with a cold L2 each time."""
    return statistics.median(gpu_clock(captured(run), REPEAT_SECONDS)()) * 1e3
