"""This file sends requests over HTTP from so many threads at a time, and keeps every answer."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """It is one POST: a path with its query, and an image's bytes."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Shot:
    """A shot is a request that was sent, and its answer, which is None where it is no JSON."""

    place: int
    status: int
    headers: dict[str, str]
    answer: Any
    seconds: float


@dataclass(frozen=True)
class Volley:
    """A volley is shots of so many threads, side by side for so many seconds."""

    concurrency: int
    shots: Sequence[Shot]
    seconds: float

    @property
    def rate(self) -> float:
        """Return answers per second."""
        return len(self.shots) / self.seconds

    @property
    def batch(self) -> float:
        """Return the mean size of the batches that the answers were computed in; 0 of none."""
        batches = (shot.headers.get("x-batch", "").partition("/")[2] for shot in self.shots)
        sizes = [int(size) for size in batches if size]
        return len(sizes) / sum(1 / size for size in sizes) if sizes else 0.0


def fire(
    url: str, requests: Sequence[Request], concurrency: int, count: int, most_seconds: float = 60
) -> Volley:
    """Send `count` requests, in turns of those given, no new ones after so many seconds.

    Each thread has one connection. Raises OSError and http.client's errors, as where none listens.
    """
    shots: list[Shot] = []
    failed = threading.Event()
    places = iter(range(count))
    start = time.perf_counter()

    def work() -> None:
        host = urlsplit(url).netloc
        connection = http.client.HTTPConnection(host, timeout=most_seconds)
        try:
            for place in places:
                if failed.is_set() or time.perf_counter() - start > most_seconds:
                    return
                shots.append(_shoot(connection, requests[place % len(requests)], place))
        except BaseException:
            failed.set()
            raise
        finally:
            connection.close()

    threads = min(concurrency, count)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
    return Volley(concurrency, shots, time.perf_counter() - start)


def _shoot(connection: http.client.HTTPConnection, request: Request, place: int) -> Shot:
    start = time.perf_counter()
    headers = {"content-type": "application/octet-stream"}
    connection.request("POST", request.path, request.content, headers)
    response = connection.getresponse()
    body = response.read()
    seconds = time.perf_counter() - start
    found = {name.lower(): value for name, value in response.getheaders()}
    return Shot(place, response.status, found, _parsed(body), seconds)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
