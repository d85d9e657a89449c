"""Decode and transform images in worker threads, ahead of the model, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from ..decode import Limits
from ..errors import ConfigError
from ..sources import Sample
from .loading import Loaded, Loader, Transform

MAX_WORKERS = 16
AHEAD = 2  # batches that may be decoded before the consumer asks for them
AHEAD_BYTES = 2**28  # of images that come as their content, as from a tar


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
    # float32 [n_ok, C, H, W], or uint8 [n_ok, H, W, C] where pixels were asked for; None if no
    # item is ok
    images: torch.Tensor | None
    items: list[Item]


@dataclass
class Spent:
    """Spent says where the time went: images over loading is what one worker decodes a second."""

    images: int = 0  # that were loaded, or could not be
    loading: float = 0.0  # seconds, the sum over the workers
    waiting: float = 0.0  # seconds that the consumer waited for a batch


class ImageBatches:
    """Iterate over batches of transformed images; each path gives exactly one item, in order.

    `paths` may be any iterable of paths, bytes, open files and `Sample`s, also a lazy or endless
    one: besides the batch being put together, at most `AHEAD` batches and one image per worker are
    read ahead, and of contents no more than `AHEAD_BYTES` and one. An item's Sample has no content
    any more. `transform` maps a PIL image to a tensor [C, H, W] of one shape. `mode` is what
    images are read as; by default the transform's own `mode`, or RGB. `workers` is the number of
    threads, by default one per core (at most MAX_WORKERS). `limits` bound each image.

    With a transform of `create_transform` there is more. `decode="turbo"` reads large JPEGs several
    times faster, and not to the bit (see `Decoder`). `pixels` leaves images as uint8 [H, W, C], to
    be normalized on the GPU: `pin_memory` puts batches where a GPU can fetch them, if there is one.
    `isolate` gives each thread a process that decodes for it, for images from anyone: only there
    an image that takes too long or too much memory, or a decoder that crashes, costs just its row,
    and only there does stopping wait for nobody. Pixels are the same.

    An unreadable image (ImageError) or one too large for the memory (MemoryError) becomes an item
    with an error. Any other exception is a bug, in the transform or here: it is raised to the
    consumer, and ends the iteration.

    Threads run while an iteration is under way, and end with it: at its end, on `close()`, on
    leaving a `with` block, or when the iterator is dropped (`break`). They finish the image that
    each has under way; processes are killed. Each `iter()` starts anew. `spent` sums up all.

    Raises ConfigError for a count below 1, and for an option that the transform has no part in.
    """

    def __init__(
        self,
        paths: Iterable[Any],
        transform: Transform,
        batch_size: int = 8,
        workers: int | None = None,
        mode: str | None = None,
        *,
        decode: str = "exact",
        limits: Limits | None = None,
        isolate: bool = False,
        pixels: bool = False,
        pin_memory: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.paths = paths
        self.transform = transform
        self.batch_size = batch_size
        self.workers = workers or min(cores(), MAX_WORKERS)
        self.mode: str = getattr(transform, "mode", "RGB") if mode is None else mode
        self.spent = Spent()
        self._loader = Loader(transform, mode, decode, limits or Limits(), isolate, pixels)
        self._pin = pin_memory and torch.cuda.is_available()
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
        pending: deque[tuple[Any, Future[Loaded]]] = deque()
        start = 0
        with contextlib.ExitStack() as stack:
            # No daemon threads, none left behind: at most one image per worker is still under way.
            executor = ThreadPoolExecutor(self.workers, thread_name_prefix="r2n-images")
            stack.callback(executor.shutdown, wait=True)
            load = stack.enter_context(self._loader.running())
            stack.callback(executor.shutdown, wait=False, cancel_futures=True)
            while True:
                before = time.monotonic()
                batch = self._next_batch(executor, load, paths, pending, start)
                self.spent.waiting += time.monotonic() - before
                if not batch.items:
                    return
                start += len(batch.items)
                yield batch
                del batch  # the consumer is done with it: free it before building the next

    def _next_batch(
        self,
        executor: ThreadPoolExecutor,
        load: Callable[[Any], Loaded],
        paths: Iterator[Any],
        pending: deque[tuple[Any, Future[Loaded]]],
        start: int,
    ) -> Batch:
        """Return the next items in input order; none at the end of `paths`."""
        ahead = AHEAD * self.batch_size + self.workers
        items: list[Item] = []
        images: list[torch.Tensor] = []
        while len(items) < self.batch_size:
            while len(pending) < ahead and (not pending or _held(pending) < AHEAD_BYTES):
                path = next(paths, pending)  # `pending`: there are no more
                if path is pending:
                    break
                pending.append((path, executor.submit(load, path)))
            if not pending:
                break
            path, future = pending.popleft()
            loaded = future.result()
            items.append(Item(start + len(items), _without_content(path), loaded.error))
            if loaded.image is not None:
                images.append(loaded.image)
            self.spent.images += 1
            self.spent.loading += loaded.seconds
        return Batch(start, self._stacked(images) if images else None, items)

    def _stacked(self, images: list[torch.Tensor]) -> torch.Tensor:
        if not self._pin:
            return torch.stack(images)
        first = images[0]
        out = torch.empty((len(images), *first.shape), dtype=first.dtype, pin_memory=True)
        return torch.stack(images, out=out)


def _held(pending: Sequence[tuple[Any, Future[Loaded]]]) -> int:
    """Return the bytes of content that wait in memory, if the last one that came has any."""
    return sum(_size(path) for path, _ in pending) if _size(pending[-1][0]) else 0


def _size(path: Any) -> int:
    source = path.source if isinstance(path, Sample) else path
    return len(source) if isinstance(source, bytes) else 0


def _without_content(path: Any) -> Any:
    """Return what an item is called: a sample's content is not needed any more."""
    if isinstance(path, Sample) and isinstance(path.source, bytes):
        return dataclasses.replace(path, source=b"")
    return path


def cores() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
