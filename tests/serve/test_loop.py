from __future__ import annotations

import queue
import threading
import time
from types import SimpleNamespace

import pytest

from r2n_kernels.serve.loop import Loop


def item(number: int, age: float = 0.0) -> tuple:
    return 0, f"id{number}", time.monotonic() - age, number


def batch(requests: queue.Queue, size: int = 3, wait: float = 0.0, patience: float | bool = 30.0):
    api = SimpleNamespace(max_batch_size=size, batch_timeout=wait, request_timeout=patience)
    return Loop().get_batch_requests(api, requests, None)


@pytest.fixture
def requests() -> queue.Queue:
    return queue.Queue()


def test_what_is_there_comes_at_once_up_to_the_size(requests):
    for number in range(5):
        requests.put(item(number))
    assert [n for *_, n in batch(requests)[0]] == [0, 1, 2]
    assert [n for *_, n in batch(requests)[0]] == [3, 4]


def test_the_wait_begins_with_the_first_request(requests):
    """LitServe's own loop would have closed its interval long before."""
    threading.Timer(0.3, lambda: requests.put(item(0))).start()
    threading.Timer(0.4, lambda: requests.put(item(1))).start()
    assert [n for *_, n in batch(requests, wait=1.0, size=2)[0]] == [0, 1]


def test_a_batch_does_not_wait_longer(requests):
    requests.put(item(0))
    assert batch(requests, wait=0.01) == ([(0, "id0", 0)], [])


def test_the_late_are_told(requests):
    requests.put(item(0, age=31))
    requests.put(item(1))
    assert batch(requests) == ([(0, "id1", 1)], [(0, "id0")])


def test_without_a_timeout_nothing_is_late(requests):
    requests.put(item(0, age=1e6))
    assert batch(requests, patience=False)[1] == []
