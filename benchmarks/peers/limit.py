"""This file limits the time of work that may take for ever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")
AGAIN = 10.0  # seconds until the alarm rings once more, where the first was lost in a destructor


class _Late(BaseException):
    """A _Late is no Exception: compilers catch Exceptions of what they only try."""


def within(seconds: float, work: Callable[[], Made], doing: str) -> Made:
    """Return work(), or raise TimeoutError naming what it was `doing`.

    The main thread of a Unix process is interrupted in its Python code; what other processes do for
    it goes on. Elsewhere nothing can stop `work`, and the error comes when it has ended.
    """
    late = f"{doing} took more than {seconds:g} s"
    start = time.monotonic()
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        made = work()
        if time.monotonic() - start > seconds:
            raise TimeoutError(late)
        return made
    handler = signal.signal(signal.SIGALRM, _ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Late:
        raise TimeoutError(late) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:  # somebody else's alarm goes on
            passed = time.monotonic() - start
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 1e-3), interval)


def _ring(signum: int, frame: Any) -> None:
    raise _Late
