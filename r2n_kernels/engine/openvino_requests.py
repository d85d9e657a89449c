"""A network compiled by OpenVINO runs a batch in parts, which are requests side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import openvino

from ..errors import KernelError
from .openvino_compile import last_line


class Compiled:
    """It runs parts of `size` images, or batches of any, on streams of OpenVINO's own threads.

    Safe to call from several threads: each takes requests that nobody else has.
    """

    def __init__(self, network: openvino.CompiledModel, size: int | None, streams: int) -> None:
        self.network, self.size, self.streams = network, size, streams
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def rows(self, count: int) -> int:
        """Return how many rows the outputs of so many images have: those of whole parts."""
        size = self.size or count
        return -(-count // size) * size

    def run(self, images: np.ndarray, outputs: Sequence[np.ndarray]) -> None:
        """Run images [N, H, W, Ci] into outputs [rows, ...]; rows behind theirs mean nothing."""
        size = self.size or len(images)
        parts = self.rows(len(images)) // size
        with self._requests(min(self.streams, parts)) as requests:
            turns = deque(requests)
            held = []  # requests point at memory, and keep none alive
            for i in range(parts):
                request = turns.popleft()
                request.wait()
                rows = slice(i * size, (i + 1) * size)
                held.append(_filled(images[rows], size))
                request.set_input_tensor(_tensor(held[-1]))
                for number, output in enumerate(outputs):
                    request.set_output_tensor(number, _tensor(output[rows]))
                request.start_async()
                turns.append(request)
            for request in turns:
                request.wait()

    @contextmanager
    def _requests(self, count: int) -> Iterator[list[Any]]:
        """Lend requests; where one failed, none is lent again, and all have ended."""
        with self._lock:
            lent = [self._free.pop() for _ in range(min(count, len(self._free)))]
        lent += [self.network.create_infer_request() for _ in range(count - len(lent))]
        try:
            yield lent
        except BaseException as error:
            for request in lent:  # they write into memory that the caller will give up
                with suppress(RuntimeError):  # the one that is raised already
                    request.wait()
            if isinstance(error, RuntimeError):
                raise KernelError(f"OpenVINO cannot run the network: {last_line(error)}") from error
            raise
        with self._lock:
            self._free += lent


def _filled(images: np.ndarray, size: int) -> np.ndarray:
    """Return so many images: the last one stands in for those that are missing."""
    missing = size - len(images)
    return np.concatenate([images, images[-1:].repeat(missing, axis=0)]) if missing else images


def _tensor(array: np.ndarray) -> Any:
    return openvino.Tensor(array, shared_memory=True)
