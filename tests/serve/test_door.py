from __future__ import annotations

import asyncio
import json

import pytest

from r2n_kernels.serve.door import Door
from r2n_kernels.serve.metrics import BATCH, SECONDS, Metrics


class App:
    """It answers when it is let, and counts what it was asked."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.status, self.headers, self.asked = status, headers or {}, 0
        self.let = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.asked += 1
        await self.let.wait()
        headers = [(k.encode(), v.encode()) for k, v in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def door(app, places: int = 2) -> Door:
    return Door(app, paths=frozenset({"/predict"}), places=places, metrics=Metrics())


async def knock(door: Door, path: str = "/predict") -> list[dict]:
    sent = []

    async def send(message):
        sent.append(message)

    await door({"type": "http", "path": path}, None, send)
    return sent


def value(door: Door, name: str, **labels: str) -> float | None:
    return door.metrics.registry.get_sample_value(name, labels)


def test_one_too_many_is_refused_at_once():
    async def scene():
        app = App()
        shut = door(app)
        inside = [asyncio.create_task(knock(shut)) for _ in range(2)]
        await asyncio.sleep(0)
        assert value(shut, "r2n_requests_under_way") == 2
        start, body = await knock(shut)
        assert app.asked == 2
        assert start["status"] == 503
        assert (b"retry-after", b"1") in start["headers"]
        assert json.loads(body["body"]) == {"detail": "2 requests are under way already"}
        app.let.set()
        await asyncio.gather(*inside)
        assert (await knock(shut))[0]["status"] == 200  # there is room again
        assert value(shut, "r2n_requests_total", status="200") == 3
        assert value(shut, "r2n_requests_total", status="503") == 1
        assert value(shut, "r2n_requests_under_way") == 0

    asyncio.run(scene())


def test_other_paths_have_no_door():
    async def scene():
        app = App()
        app.let.set()
        shut = door(app, places=0)
        assert (await knock(shut, "/health"))[0]["status"] == 200
        assert value(shut, "r2n_requests_total", status="200") is None

    asyncio.run(scene())


def test_a_batch_is_counted_once():
    async def scene():
        for place in range(3):
            app.headers = {BATCH: f"{place}/3", SECONDS: "0.5"}
            await knock(counted)

    app = App()
    app.let.set()
    counted = door(app)
    asyncio.run(scene())
    assert value(counted, "r2n_batch_size_sum") == 3
    assert value(counted, "r2n_batch_size_count") == 1
    assert value(counted, "r2n_predict_seconds_sum") == 0.5
    assert value(counted, "r2n_request_seconds_count") == 3


def test_a_fault_is_counted_and_leaves():
    async def broken(scope, receive, send):
        raise OSError("broken")

    shut = door(broken)
    with pytest.raises(OSError, match="broken"):
        asyncio.run(knock(shut))
    assert value(shut, "r2n_requests_total", status="500") == 1
    assert shut.taken == 0
