"""Batches go through LitServe's own loop here, without processes."""

from __future__ import annotations

import json
import pickle
import queue
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fastapi import HTTPException
from litserve.callbacks import CallbackRunner
from litserve.loops.base import _StopLoopError

from r2n_kernels.decode.limits import Limits
from r2n_kernels.serve.api import ImageAPI
from r2n_kernels.serve.network import Network
from r2n_kernels.serve.options import Options
from r2n_kernels.serve.payload import Payload

from ..decode.hostile import endless_jpeg, png_claiming


class Requests(queue.Queue):
    """A queue that ends the loop when nothing is left."""

    def get(self, block: bool = True, timeout: float | None = None):
        if timeout is None and block and self.empty():
            raise _StopLoopError
        return super().get(block, timeout)


class Answers(dict):
    """Transport: id -> status, response."""

    def send(self, item, consumer_id):
        uid, (response, status, *_) = item
        self[uid] = status, response


@pytest.fixture
def api(digits) -> ImageAPI:
    options = Options(max_batch=8, timeout_ms=1)
    api = ImageAPI(lambda: None, "digits", options)
    api.network = Network(digits.model, digits.labels, 8, Limits(20_000_000, seconds=1))
    api.decoders = ThreadPoolExecutor(2)
    api.pre_setup()
    api.request_timeout = 30
    yield api
    api.decoders.shutdown()
    api.network.close()


def answers(api: ImageAPI, payloads: list[Payload]) -> list[tuple[int, dict, dict]]:
    """Status, content and headers of each, after pickling as LitServe's queue does it."""
    requests, found = Requests(), Answers()
    for place, payload in enumerate(payloads):
        requests.put((0, place, time.monotonic(), payload))
    api._loop.run_batched_loop(api, requests, found, CallbackRunner())
    assert {status for status, _ in found.values()} == {"OK"}
    responses = [pickle.loads(pickle.dumps(found[p][1])) for p in range(len(payloads))]
    return [(r.status_code, json.loads(r.body), dict(r.headers)) for r in responses]


def test_bad_images_do_not_fail_their_neighbours(api, digits):
    """Ten requests in batches of eight and two: good and bad, classes and embeddings, mixed."""
    truncated = digits.contents[0][:-20]
    payloads = [
        Payload(bad or digits.contents[place], ("topk", "embedding")[place % 2], 10)
        for place, bad in enumerate([b"", b"", b"text", b"", truncated, b"", b"", b"", b"x", b""])
    ]
    payloads[1] = Payload(b"\0", "embedding", 0)
    reasons = {1: "not an image", 2: "not an image", 4: "damaged image", 8: "not an image"}
    for place, (status, content, headers) in enumerate(answers(api, payloads)):
        assert headers["x-batch"] == (f"{place}/8" if place < 8 else f"{place - 8}/2")
        if place in reasons:
            assert status == 400
            assert content["detail"].startswith(reasons[place])
        else:
            assert status == 200
            assert set(content) == {payloads[place].output, "model"}
            assert digits.expected[place].holds(content)
            # an answer to another image is seen
            assert not digits.expected[(place + 5) % 20].holds(content)


def test_a_batch_of_bad_images_alone(api):
    ((status, content, _),) = answers(api, [Payload(b"text", "topk", 1)])
    assert (status, content["detail"][:12]) == (400, "not an image")


def test_an_image_that_takes_long_does_not_hold_up_its_neighbour(api, digits):
    """Whole, it would take minutes."""
    slow, large, good = answers(
        api,
        [
            Payload(content, "topk", 10)
            for content in (endless_jpeg(4000, 3000), png_claiming(5000, 5000), digits.contents[2])
        ],
    )
    assert slow[:2] == (400, {"detail": "took longer than 1 s"})
    assert large[0] == 400
    assert large[1]["detail"].startswith("too large")
    assert digits.expected[2].holds(good[1])


def test_answer_has_labels(api, digits):
    ((_, content, _),) = answers(api, [Payload(digits.contents[0], "topk", 2)])
    assert [c["label"] for c in content["topk"]] == [str(c["index"]) for c in content["topk"]]
    assert content["topk"][0]["probability"] >= content["topk"][1]["probability"]
    assert content["model"] == "digits"


def test_numbers_that_are_not_finite_are_one_answer(api, digits, monkeypatch):
    outputs = digits.model.outputs

    def overflowing(x, maps, head):
        found = outputs(x, maps, head)
        found[0][1] = torch.nan
        return found

    monkeypatch.setattr(digits.model, "outputs", overflowing)
    found = answers(api, [Payload(content, "topk", 10) for content in digits.contents[:3]])
    assert [status for status, *_ in found] == [200, 500, 200]
    assert found[1][1] == {"detail": "the model's numbers for this image are not finite"}
    assert digits.expected[2].holds(found[2][1])


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (MemoryError(), 413, "not enough memory to prepare it"),
        (ZeroDivisionError("bug"), 500, "internal error"),
    ],
)
def test_what_else_goes_wrong_with_one_image(
    api, digits, monkeypatch, caplog, error, status, detail
):
    pixels = api.network.pixels

    def failing(content):
        if content == b"odd":
            raise error
        return pixels(content)

    monkeypatch.setattr(api.network, "pixels", failing)
    odd, good = answers(api, [Payload(c, "topk", 10) for c in (b"odd", digits.contents[1])])
    assert odd[:2] == (status, {"detail": detail})
    assert digits.expected[1].holds(good[1])
    assert ("bug" in caplog.text) == (status == 500)


def test_litserve_fails_a_whole_batch_on_what_is_raised(api, digits, monkeypatch):
    """The reason for answers that are values: this must be known when it changes."""

    def raising(request):
        if request.content == b"bad":
            raise HTTPException(400, "bad")
        return request, None

    monkeypatch.setattr(api, "decode_request", raising)
    requests, found = Requests(), Answers()
    for place, content in enumerate((digits.contents[0], b"bad")):
        requests.put((0, place, time.monotonic(), Payload(content, "topk", 1)))
    api._loop.run_batched_loop(api, requests, found, CallbackRunner())
    assert [status for status, _ in found.values()] == ["ERROR", "ERROR"]
