"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

BAR = 24  # characters
INTERVAL = 0.1  # seconds between two drawings
ERASE = "\r\x1b[K"


class Progress:
    """Counts images on standard error. Silent where that is no terminal."""

    unit = "img"

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.done = total, 0
        self.stream = sys.stderr if stream is None else stream
        self.shown = total > 0 and _is_terminal(self.stream)
        self.start = time.monotonic()
        self._drawn = -INTERVAL

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self._drawn >= INTERVAL or self.done == self.total:
            self._draw()

    def hide(self) -> None:
        """Erase the bar, so that other lines may be printed; `advance` brings it back."""
        if self.shown:
            self.stream.write(ERASE)
            self.stream.flush()
            self._drawn = -INTERVAL

    @property
    def rate(self) -> float:
        """Images a second so far."""
        return self.done / max(time.monotonic() - self.start, 1e-9)

    def _draw(self) -> None:
        if self.shown:
            self._drawn = time.monotonic()
            columns = shutil.get_terminal_size().columns
            self.stream.write(ERASE + self._line()[: columns - 1])
            self.stream.flush()

    def _line(self) -> str:
        filled = BAR * self.done // self.total
        bar = "#" * filled + "-" * (BAR - filled)
        counts = f"[{bar}] {self.done}/{self.total}"
        if not self.done:
            return counts
        left = _clock((self.total - self.done) / self.rate)
        return f"{counts}  {self.rate:.1f} {self.unit}/s  {left} left"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hide()


def _is_terminal(stream: TextIO | None) -> bool:
    """Of a kind that can erase a line."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
