"""This file puts the application together: LitServe's routes, and those that it has not."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request, Response
from litserve import LitServer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .api import ImageAPI
from .door import Door
from .metrics import Metrics
from .options import Options
from .payload import EMBED, Rules

PREDICT = "/predict"
METRICS = "/metrics"
WEIGHTS = "weights from "  # how the package's line of origin, hash and licence begins


def build(api: ImageAPI, options: Options) -> LitServer:
    """Return a server that is not started yet.

    Its Swagger page is off: it would have browsers load scripts from another host. Its workers'
    devices are the API's own affair, so that LitServe is told of one CPU.
    """
    metrics = Metrics()
    door = {
        "paths": frozenset((PREDICT, EMBED)), "places": options.places, "metrics": metrics,
    }  # fmt: skip
    server = LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=options.workers,
        timeout=options.request_seconds, middlewares=[(Door, door)], disable_openapi_url=True,
    )  # fmt: skip
    guard = [Depends(server.setup_auth(api))]  # X-API-Key, where LIT_SERVER_API_KEY is set
    predict = next(r.endpoint for r in server.app.routes if getattr(r, "path", "") == PREDICT)
    server.app.add_api_route(EMBED, predict, methods=["POST"], dependencies=guard)

    async def show(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    server.app.add_api_route(METRICS, show, methods=["GET"], dependencies=guard)
    return server


def open_for(server: LitServer, facts: dict[str, Any], options: Options) -> None:
    """Tell the application what its workers' model is; of its weights not where they lie."""
    shown = [line.partition(", ")[2] for line in facts["weights"] if line.startswith(WEIGHTS)]
    server.app.state.rules = Rules(
        options.max_bytes, options.topk, facts["classes"], options.request_seconds
    )
    server.model_metadata = {**facts, "weights": shown}
    server.max_payload_size = options.max_bytes  # what /info shows; the payload is what checks it
    server.devices = [facts["device"]] * len(server.devices)
