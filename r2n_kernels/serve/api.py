"""LitServe calls this API in a worker process: one bad image never fails its neighbours.

What LitServe raises on fails a whole batch. So whatever concerns one image is a value here: its
answer or its refusal goes through the batch beside it. Annotations in this file are no strings
(no `from __future__`): LitServe hands that of `request` to FastAPI, which must find a class there.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import Depends
from fastapi.responses import JSONResponse, Response
from litserve import LitAPI

from ..errors import ImageError, R2NError
from ..version import __version__
from .loop import Loop
from .metrics import BATCH, SECONDS
from .options import Options
from .payload import Payload, read_payload

if TYPE_CHECKING:
    from ..model.bundled import Model

Load = Callable[[], "tuple[Model, tuple[str, ...] | None]"]  # a model, and its classes' names
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A refusal is an answer, too: an HTTP status, and why."""

    status: int
    detail: str


class Answer(NamedTuple):
    """An answer goes back with its place in its batch, and the seconds that the model took."""

    payload: Payload
    value: Any
    place: int
    size: int
    seconds: float


Decoding = tuple[Payload, "Future[Any]"]
Decoded = tuple[Payload, Any]  # pixels, or a Refusal


class ImageAPI(LitAPI):
    """An image API answers what a model says of an image: its likeliest classes, or an embedding.

    `load` makes the model, and must be picklable: each worker process calls it. `reports` has what
    each worker says once: facts of its model, or why there is none.
    """

    def __init__(self, load: Load, name: str, options: Options) -> None:
        super().__init__(options.max_batch, options.timeout_ms / 1000, loop=Loop())
        self.load, self.name, self.options = load, name, options
        self.reports: Any = get_context("spawn").SimpleQueue()
        self.siblings: list[int] = []  # process ids that end with the server

    def setup(self, device: str) -> None:
        """Load the model, whatever LitServe calls its device, and report."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the server alone
        threading.Thread(target=self._end_with_server, daemon=True).start()
        import torch

        from ..data.pipeline import cores
        from ..decode.limits import Limits
        from .network import Network

        torch.set_num_threads(self.options.threads or max(1, cores() // self.options.workers))
        notes = _Notes()
        try:
            with notes:
                model, labels = self.load()
            limits = Limits(self.options.max_pixels, seconds=self.options.image_seconds)
            self.network = Network(model, labels, self.max_batch_size, limits)
            Finalize(self, self.network.close, exitpriority=0)  # at this process's end
            self.network.warm()
        except R2NError as error:
            self.reports.put(str(error))
            raise SystemExit(2) from None
        self.decoders = ThreadPoolExecutor(cores(), "r2n-images")
        facts = {"name": self.name, "r2n_kernels": __version__, **self.network.facts()}
        self.reports.put({**facts, "weights": notes.lines})

    def _end_with_server(self) -> None:
        """End this process and LitServe's queues when the server was killed: nobody else would."""
        server = parent_process()
        assert server is not None  # a worker has one
        server.join()
        for process in self.siblings:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os._exit(1)

    def decode_request(self, request: Annotated[Payload, Depends(read_payload)]) -> Decoding:
        """Begin to decode an image; the batch's images are decoded side by side."""
        return request, self.decoders.submit(self.network.pixels, request.content)

    def batch(self, inputs: Sequence[Decoding]) -> list[Decoded]:
        """Wait for pixels, or why there are none."""
        return [(payload, _settled(future)) for payload, future in inputs]

    def predict(self, x: Sequence[Decoded]) -> list[Answer]:
        """Run the images that are there in one batch, and put each answer in its place."""
        start = time.monotonic()
        good = [place for place, (_, pixels) in enumerate(x) if not isinstance(pixels, Refusal)]
        values = [pixels for _, pixels in x]
        if good:
            found = self.network.answers([x[p][1] for p in good], [x[p][0] for p in good])
            for place, value in zip(good, found, strict=True):
                values[place] = value
        seconds = time.monotonic() - start
        pairs = zip(x, values, strict=True)
        return [Answer(p, v, i, len(x), seconds) for i, ((p, _), v) in enumerate(pairs)]

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        """Return the answers: they are a list already."""
        return output

    def encode_response(self, output: Answer) -> Response:
        """Make the response of an answer; LitServe hands it on as it is."""
        headers = {BATCH: f"{output.place}/{output.size}", SECONDS: f"{output.seconds:.6f}"}
        if output.value is None:
            refused = Refusal(500, "the model's numbers for this image are not finite")
        elif isinstance(output.value, Refusal):
            refused = output.value
        else:
            content = {output.payload.output: output.value, "model": self.name}
            return JSONResponse(content, headers=headers)
        return JSONResponse({"detail": refused.detail}, refused.status, headers)


def _settled(future: "Future[Any]") -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, ImageError):
        return Refusal(400, str(error))
    if isinstance(error, MemoryError):
        return Refusal(413, "not enough memory to prepare it")
    # a bug, but of this image alone
    _log.error("an image could not be prepared", exc_info=error)
    return Refusal(500, "internal error")


class _Notes(logging.Handler):
    """These notes are what the package says while a model loads, as of its weights' licence."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> None:
        logger = logging.getLogger("r2n_kernels")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("r2n_kernels").removeHandler(self)
