"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

BAR = 24  # characters
INTERVAL = 0.1  # seconds between two drawings


class Progress:
    """Counts images on standard error. Silent where that is no terminal."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done = total, 0
        self.stream = sys.stderr if stream is None else stream
        self.shown = self.stream.isatty() and total > 0
        self.start = self._drawn = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if self.shown and (now - self._drawn >= INTERVAL or self.done == self.total):
            self._drawn = now
            self.stream.write("\r\x1b[K" + self._line())
            self.stream.flush()

    @property
    def rate(self) -> float:
        """Images a second so far."""
        return self.done / max(time.monotonic() - self.start, 1e-9)

    def _line(self) -> str:
        filled = BAR * self.done // self.total
        left = (self.total - self.done) / self.rate if self.rate else 0.0
        bar = "#" * filled + "-" * (BAR - filled)
        return f"[{bar}] {self.done}/{self.total}  {self.rate:.1f} img/s  {_clock(left)} left"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
