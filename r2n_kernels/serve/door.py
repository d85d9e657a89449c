"""Requests for an answer come in through this door: it counts them, and closes when it is full."""

from __future__ import annotations

import time

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics

RETRY_AFTER = "1"  # seconds: a batch takes less


class Door:
    """Let so many requests for these paths be under way, and refuse one more with 503 at once.

    A refused request is neither read nor queued.
    """

    def __init__(
        self, app: ASGIApp, *, paths: frozenset[str], places: int, metrics: Metrics
    ) -> None:
        self.app, self.paths, self.places, self.metrics = app, paths, places, metrics
        self.taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.paths:
            await self.app(scope, receive, send)
            return
        start, status, headers = time.monotonic(), 500, Headers()

        async def told(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message["headers"])
            await send(message)

        try:
            await self._answer(scope, receive, told)
        finally:
            self.metrics.answered(status, headers, time.monotonic() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.taken >= self.places:
            full = {"detail": f"{self.taken} requests are under way already"}
            refusal = JSONResponse(full, 503, {"retry-after": RETRY_AFTER, "connection": "close"})
            await refusal(scope, receive, send)
            return
        self.taken += 1
        self.metrics.under_way.set(self.taken)
        try:
            await self.app(scope, receive, send)
        finally:
            self.taken -= 1
            self.metrics.under_way.set(self.taken)
