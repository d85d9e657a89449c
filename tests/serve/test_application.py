from __future__ import annotations

import asyncio

import litserve.server
import pytest

from r2n_kernels.serve.api import ImageAPI
from r2n_kernels.serve.application import build, open_for
from r2n_kernels.serve.options import Options
from r2n_kernels.serve.payload import Rules

PATHS = {"/predict": "POST", "/embed": "POST", "/metrics": "GET", "/info": "GET", "/health": "GET"}


def status(app, path: str, **headers: str) -> int:
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {
        "type": "http", "method": PATHS.get(path, "GET"), "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": pairs, "server": ("a", 80), "client": ("b", 1),
        "scheme": "http", "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


@pytest.fixture
def make():
    options = Options()
    facts = {
        "classes": 10,
        "device": "cuda:0",
        "weights": ["weights from /home/me, sha256 ab", "?"],
    }

    def built():
        server = build(ImageAPI(lambda: None, "digits", options), options)
        open_for(server, facts, options)
        server.workers_setup_status = {}
        return server

    return built


@pytest.mark.parametrize("path", PATHS)
def test_every_path_wants_the_key(make, monkeypatch, path):
    """Those that LitServe does not know, too."""
    monkeypatch.setattr(litserve.server, "LIT_SERVER_API_KEY", "secret")
    app = make().app
    assert status(app, path) == 401
    assert status(app, path, x_api_key="wrong") == 401
    assert status(app, path, x_api_key="secret") != 401


def test_without_a_key_all_are_open(make):
    app = make().app
    assert [status(app, path) for path in PATHS] == [415, 415, 200, 200, 503]


def test_a_path_of_this_machine_is_not_told(make):
    server = make()
    assert server.model_metadata["weights"] == ["sha256 ab"]
    assert server.devices == ["cuda:0"]
    assert server.max_payload_size == 20_000_000
    assert server.app.state.rules == Rules(20_000_000, 5, 10, 30)
