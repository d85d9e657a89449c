"""A run of r2n speaks, and sets up its process, here: all is put back when the run ends."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

STOPPING_SIGNALS = ("SIGTERM", "SIGHUP")  # of those, what the system has


def say(message: str) -> None:
    """Print a line on standard error; nothing where that is closed."""
    if sys.stderr is not None:
        print(message, file=sys.stderr)


class Stopped(KeyboardInterrupt):
    """A signal asked the run to end: as at Ctrl-C, finished rows are kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def process_settings() -> Iterator[None]:
    """Set line-wise output of any file name, our log on stderr, quiet Pillow, and signals."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name may hold bytes that are no text; a reader of a pipe wants finished lines.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_log_to_stderr())
        # Before any thread starts: warning filters belong to the process. What Pillow warns of is
        # in the rows (a bomb, damage), or has no effect here (transparency in a palette).
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        stack.enter_context(_stop_on_signals())
        yield


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    ours, pillow = logging.getLogger("r2n_kernels"), logging.getLogger("PIL")
    before = ours.level, pillow.level
    handler = logging.StreamHandler(sys.stderr)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    pillow.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before[0])
        pillow.setLevel(before[1])


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    numbers = [getattr(signal, name) for name in STOPPING_SIGNALS if hasattr(signal, name)]
    # One that is not at its default was set by whoever started us (nohup), and stays.
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def discard_output() -> None:
    """Send what is still unwritten to nowhere, or Python complains about it as it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
