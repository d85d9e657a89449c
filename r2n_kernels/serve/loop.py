"""This loop makes the batches of a worker: it waits for a first request, then a while for others.

LitServe's own asks its queue a thousand times per second while nothing is there, and closes a batch
at the end of an interval that began before its first request.
"""

from __future__ import annotations

import time
from queue import Empty, Queue
from typing import Any

from litserve import LitAPI
from litserve.loops import BatchedLoop
from litserve.transport.base import MessageTransport


class Loop(BatchedLoop):
    """A batch is complete when it is full, or its first request has waited for batch_timeout.

    Whatever lies in the queue by then is taken along.
    """

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: Queue, transport: MessageTransport
    ) -> tuple[list[Any], list[Any]]:
        """Return (response queue, id, payload) of each request, and those that waited too long."""
        taken: list[Any] = []
        late: list[Any] = []
        item, end = request_queue.get(), time.monotonic() + lit_api.batch_timeout
        while item is not None:
            consumer, uid, asked, payload = item
            if time.monotonic() - asked > (lit_api.request_timeout or float("inf")):
                late.append((consumer, uid))
            else:
                taken.append((consumer, uid, payload))
            if len(taken) == lit_api.max_batch_size:
                break
            item = _next(request_queue, end - time.monotonic())
        return taken, late


def _next(queue: Queue, seconds: float) -> Any:
    try:
        return queue.get(timeout=seconds) if seconds > 0 else queue.get_nowait()
    except Empty:
        return None
