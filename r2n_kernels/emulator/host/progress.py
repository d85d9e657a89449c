"""A long launch tells how far it is, on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 5.0  # seconds


@contextmanager
def told(name: str, total: int, every: float = EVERY) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of CTAs that are done; print it every few seconds."""
    start, done, ended = time.monotonic(), [0], threading.Event()

    def tell() -> None:
        while not ended.wait(every):
            took = time.monotonic() - start
            print(
                f"emulator: {name}: {done[0]} of {total} CTAs after {took:.0f} s", file=sys.stderr
            )

    def note(count: int) -> None:
        done[0] = count

    teller = threading.Thread(target=tell, name="emulator-progress", daemon=True)
    teller.start()
    try:
        yield note
    finally:
        ended.set()
        teller.join()
