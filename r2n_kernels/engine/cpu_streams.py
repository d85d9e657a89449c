"""A batch on the CPU runs as streams side by side, each a small group of images at a time.

Inside one convolution, threads wait for each other at its end; between streams nobody waits.
Measured on two cores, batch 8 (figures in docs/benchmarks.md): two streams of one thread each beat
one stream of two threads, and small groups keep activations in cache and memory bounded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
GROUP = 4  # images that a stream carries through the network at a time
MAX_STREAMS = 16  # beyond this, Python's interpreter lock would hold the streams up


class CpuStreams:
    """Map a function over parts of a batch, in order. Safe to share between threads and forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._key: tuple[int, int, int] | None = None

    def __reduce__(self) -> tuple[type[CpuStreams], tuple[()]]:
        return CpuStreams, ()  # threads are not copied or pickled; a copy starts its own

    def map(self, fn: Callable[[Tensor], list[Tensor]], x: Tensor) -> list[Tensor]:
        """Apply fn, which is independent per image, to x [N, ...]; returns its outputs for all N.

        Images that divide evenly over the streams go there, the rest runs on all threads.
        """
        threads = torch.get_num_threads()
        streams = min(threads, MAX_STREAMS)
        share, rest = divmod(x.shape[0], streams)  # images per stream, and those left over
        if streams == 1:
            parts = [fn(group) for group in x.split(GROUP)]
        elif share < 2:
            parts = [fn(x)]
        else:
            pool = self._start(streams, threads // streams, threads)
            parts = list(pool.map(fn, x[: x.shape[0] - rest].split(_groups(share) * streams)))
            if rest:
                parts.append(fn(x[-rest:]))
        if len(parts) == 1:
            return parts[0]
        return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]

    def alone(self, fn: Callable[[], T]) -> T:
        """Return fn(), computed by one thread.

        OpenMP's threads, once woken, spin for milliseconds on the cores of whoever computes next.
        """
        return self._start(1, 1, torch.get_num_threads()).submit(fn).result()

    def _start(self, streams: int, share: int, threads: int) -> ThreadPoolExecutor:
        """Return a pool of `streams` threads that each use `share` OpenMP threads."""
        key = (os.getpid(), streams, share)  # a fork inherits the object but not its threads
        with self._lock:
            if self._pool is None or self._key != key:
                ready = threading.Barrier(streams + 1)

                def start() -> None:
                    # A thread's count of OpenMP threads is its own, but torch sets it once more
                    # from its global note when the thread first asks: ask before setting it.
                    # The note, which setting changes too, is put right below.
                    torch.get_num_threads()
                    torch.set_num_threads(share)
                    ready.wait()

                self._pool = ThreadPoolExecutor(streams, "r2n-stream", initializer=start)
                self._key = key
                for _ in range(streams):
                    self._pool.submit(int)  # nothing: it makes the pool start one more thread
                ready.wait()
                torch.set_num_threads(threads)
            return self._pool


def _groups(images: int) -> list[int]:
    """Return the sizes of a stream's groups: as few as GROUP allows, and as even as they can be."""
    count = -(-images // GROUP)
    return [images // count + (i < images % count) for i in range(count)]
