"""Decode and transform images in worker threads, ahead of the model, in bounded memory."""

from __future__ import annotations

import itertools
import os
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..errors import ConfigError, ImageError
from .images import read_image

MAX_WORKERS = 16
AHEAD = 2  # batches that may be decoded before the consumer asks for them


@dataclass(frozen=True)
class Item:
    """It is one input: its place in the input order, its path, and why it was unreadable, if so."""

    index: int
    path: Any
    error: str | None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Batch:
    """A Batch has items in input order, and the images of those that are ok, in the same order."""

    start: int  # index of the first item
    images: torch.Tensor | None  # float32 [n_ok, C, H, W]; None if no item is ok
    items: list[Item]


class ImageBatches:
    """Iterate over batches of transformed images; each path gives exactly one item, in order.

    `paths` may be any iterable, also a lazy or endless one: besides the batch being put together,
    at most `AHEAD` batches and one image per worker are read ahead. `transform` maps a PIL image to
    a tensor [C, H, W] of one shape. `mode` is what images are read as; by default the transform's
    own `mode`, or RGB. `workers` is the number of threads, by default one per core (at most
    MAX_WORKERS).

    An unreadable image (ImageError) or one too large for the memory (MemoryError) becomes an item
    with an error. Any other exception is a bug, in the transform or here: it is raised to the
    consumer, and ends the iteration.

    Threads run while an iteration is under way, and end with it: at its end, on `close()`, on
    leaving a `with` block, or when the iterator is dropped (`break`). Each `iter()` starts anew.
    """

    def __init__(
        self,
        paths: Iterable[Any],
        transform: Callable[[Image.Image], torch.Tensor],
        batch_size: int = 8,
        workers: int | None = None,
        mode: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.paths = paths
        self.transform = transform
        self.batch_size = batch_size
        self.workers = workers or min(_cores(), MAX_WORKERS)
        self.mode: str = getattr(transform, "mode", "RGB") if mode is None else mode
        # Weak: an iterator that its consumer dropped must end, and not live on here.
        self._running: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        self._running.add(batches)
        return batches

    def __enter__(self) -> ImageBatches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every iteration under way and wait for its threads."""
        while self._running:
            self._running.pop().close()

    def _batches(self) -> Generator[Batch, None, None]:
        paths = iter(self.paths)
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="r2n-images")
        pending: deque[tuple[Any, Future]] = deque()
        start = 0
        try:
            while True:
                batch = self._next_batch(executor, paths, pending, start)
                if not batch.items:
                    return
                start += len(batch.items)
                yield batch
                del batch  # the consumer is done with it: free it before building the next
        finally:
            # No daemon threads, none left behind: at most one image per worker is still under way.
            executor.shutdown(wait=True, cancel_futures=True)

    def _next_batch(
        self,
        executor: ThreadPoolExecutor,
        paths: Iterator[Any],
        pending: deque[tuple[Any, Future]],
        start: int,
    ) -> Batch:
        """Return the next items in input order; none at the end of `paths`."""
        ahead = AHEAD * self.batch_size + self.workers
        items: list[Item] = []
        images: list[torch.Tensor] = []
        while len(items) < self.batch_size:
            for path in itertools.islice(paths, ahead - len(pending)):
                pending.append((path, executor.submit(self._load, path)))
            if not pending:
                break
            path, future = pending.popleft()
            image, error = future.result()
            items.append(Item(start + len(items), path, error))
            if image is not None:
                images.append(image)
        return Batch(start, torch.stack(images) if images else None, items)

    def _load(self, path: Any) -> tuple[torch.Tensor | None, str | None]:
        """Return an image, or the reason why there is none; runs in a worker thread."""
        try:
            return self.transform(read_image(path, self.mode)), None
        except ImageError as error:
            return None, str(error)
        except MemoryError:
            return None, "not enough memory to prepare it"


def _cores() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
