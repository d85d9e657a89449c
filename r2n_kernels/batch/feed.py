"""Batches are fed to a model: at once on a CPU; on a GPU the copies and the waiting overlap.

On a GPU a batch goes through pinned memory and a stream of its own, and results are fetched one
batch behind, so that the GPU computes one batch while the next is decoded and copied.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Batch, Spent
from .parts import parts

if TYPE_CHECKING:
    from ..model.bundled import Model

Apply = Callable[[Tensor], Tensor]  # a batch of images -> rows [N, ...]
Fetch = Callable[[], Tensor]


@dataclass
class Clock:
    """A Clock adds up the seconds of a run that went into waiting: for images, for the model.

    decoded: what the decoding workers did meanwhile.
    """

    images: float = 0.0
    model: float = 0.0
    count: int = 0  # images that the model ran
    workers: int = 1
    decoded: Spent = field(default_factory=Spent)

    def told(self) -> str | None:
        """Return the rates of decoding and of the model, and which of them waits."""
        if not self.count or not self.decoded.loading:
            return None
        decoding = self.decoded.images * self.workers / self.decoded.loading
        model = self.count / self.model
        waits = "the model waits for images" if self.images > self.model else "images wait for it"
        return f"decoding {decoding:.1f} img/s, the model {model:.1f} img/s: {waits}"


def forward_batches(
    model: Model, batches: Iterable[Batch], apply: Apply, cuts: Sequence[int] = (),
    clock: Clock | None = None,
) -> Generator[tuple[Batch, Tensor | None], None, None]:  # fmt: skip
    """Yield each batch with apply(its images) in float32 on the CPU, or None where it has none.

    Images are floats [N, C, H, W], which are cast to the model's dtype, or bytes [N, H, W, C],
    which the model normalises. cuts: the batches that `apply` is called with, padded; () for any.
    """
    clock = clock or Clock()
    on_gpu = model.device.type == "cuda"
    lane: Callable[[Tensor], Fetch] = (_GpuLane if on_gpu else _CpuLane)(model, apply, cuts)
    waiting: deque[tuple[Batch, Fetch | None]] = deque()
    source = iter(batches)
    while True:
        start = time.monotonic()
        batch = next(source, None)
        clock.images += time.monotonic() - start
        if batch is not None:
            start = time.monotonic()
            waiting.append((batch, None if batch.images is None else lane(batch.images)))
            clock.model += time.monotonic() - start
            clock.count += 0 if batch.images is None else len(batch.images)
        elif not waiting:
            return
        if len(waiting) > on_gpu or batch is None:
            yield _fetched(*waiting.popleft(), clock)


def _fetched(batch: Batch, fetch: Fetch | None, clock: Clock) -> tuple[Batch, Tensor | None]:
    start = time.monotonic()
    found = fetch and fetch()
    clock.model += time.monotonic() - start
    return batch, found


class _CpuLane:
    """A lane turns images into what fetches the model's rows of them; here they are ready."""

    def __init__(self, model: Model, apply: Apply, cuts: Sequence[int]) -> None:
        self.model, self.apply, self.cuts = model, apply, cuts

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Fetch:
        found = self.rows(images)
        return lambda: found

    def rows(self, images: Tensor) -> Tensor:
        """Return rows in float32, on the device of the images."""
        x = images if images.dtype == torch.uint8 else images.to(self.model.dtype)
        return torch.cat([self.apply(part)[:n].float() for part, n in parts(x, self.cuts)])


class _GpuLane(_CpuLane):
    """This lane only queues work; whoever fetches the rows waits for them."""

    def __init__(self, model: Model, apply: Apply, cuts: Sequence[int]) -> None:
        super().__init__(model, apply, cuts)
        self.copies = torch.cuda.Stream(model.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Fetch:
        device = self.model.device
        stream = torch.cuda.current_stream(device)
        with torch.cuda.stream(self.copies):
            # torch keeps the pinned copy until the GPU has read it
            x = images.pin_memory().to(device, non_blocking=True)
        stream.wait_stream(self.copies)
        x.record_stream(stream)
        found = self.rows(x).to("cpu", non_blocking=True)
        done = stream.record_event()

        def fetch() -> Tensor:
            done.synchronize()
            return found

        return fetch
