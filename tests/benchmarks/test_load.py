from __future__ import annotations

import http.server
import json
import threading

import pytest

from r2n_kernels.benchmarks.load import Request, Shot, Volley, fire


class Echo(http.server.BaseHTTPRequestHandler):
    """It answers with what it was sent, and where."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.rfile.read(int(self.headers["content-length"])).decode()
        body = json.dumps([self.path, content]).encode()
        self.send_response(200)
        self.send_header("x-batch", "0/2")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_answer_is_kept_with_its_request(url):
    requests = [Request(f"/{name}", name.encode()) for name in "abc"]
    volley = fire(url, requests, 4, 20)
    assert sorted(shot.place for shot in volley.shots) == list(range(20))
    for shot in volley.shots:
        name = "abc"[shot.place % 3]
        assert (shot.status, shot.answer) == (200, [f"/{name}", name])
    assert volley.batch == 2
    assert volley.rate == 20 / volley.seconds


def test_no_new_requests_after_its_time(url):
    assert fire(url, [Request("/", b"")], 2, 10, most_seconds=-1).shots == []


def test_a_server_that_is_not_there():
    with pytest.raises(OSError, match="refused"):
        fire("http://127.0.0.1:9", [Request("/", b"")], 2, 4)


def test_figures():
    shots = [
        Shot(i, 200, {"x-batch": size}, None, float(i))
        for i, size in enumerate(["0/1", "0/3", "1/3", "2/3"])
    ]
    volley = Volley(2, shots, 2.0)
    assert volley.rate == 2.0
    assert volley.batch == pytest.approx(2.0)  # of two batches
    assert Volley(1, [Shot(0, 503, {}, None, 1.0)], 1.0).batch == 0.0
