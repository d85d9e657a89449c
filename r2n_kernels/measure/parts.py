"""What a process does once is timed in parts, one after the other."""

from __future__ import annotations

import time


def now() -> float:
    """Return seconds on a clock that all processes of this machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Parts:
    """Parts hold `seconds` by part, from a start that may lie before this process."""

    def __init__(self, start: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = start

    def done(self, name: str) -> None:
        """End the part of this name, and begin the next one."""
        last, self._last = self._last, now()
        self.seconds[name] = self._last - last
