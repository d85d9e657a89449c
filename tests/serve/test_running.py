"""Servers in processes of their own: HTTP, overload, how they stop, what is left of them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from r2n_kernels.benchmarks.load import Request, fire
from r2n_kernels.benchmarks.serving import address_of
from r2n_kernels.benchmarks.serving import main as load_test
from r2n_kernels.cli.bundled import DIGITS
from r2n_kernels.errors import ConfigError

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
SLOW_BATCH = "1500"  # milliseconds: so long a lonely request is under way


class Server:
    """`r2n serve` of the digits, in a process that is ended for certain."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "r2n_kernels.cli", "serve", "--model", "digits"]
        self.process = subprocess.Popen(
            [*command, "--threads", "1", "--port", "0", *arguments],
            stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.url = address_of(self.process)
        self.family = [self.process.pid, *children(self.process.pid)]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(self.family):
            if alive(pid) and pid != self.process.pid:
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()

    def ask(
        self, path: str, body: bytes | None = None, kind: str | None = "image/png", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        if body is not None and kind:
            headers["content-type"] = kind
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        connection.close()
        return response.status, found, content

    def asking(self, body: bytes) -> tuple[threading.Thread, list]:
        """A thread that asks, and its answer to come."""
        found: list = []
        thread = threading.Thread(target=lambda: found.append(self.ask("/predict?topk=10", body)))
        thread.start()
        return thread, found

    def end(self, seconds: float = 20) -> tuple[int, str]:
        said = self.process.communicate(timeout=seconds)[1]
        return self.process.returncode, said

    def left(self, seconds: float = 10) -> list[int]:
        """Processes of it that live on after so long."""
        end = time.monotonic() + seconds
        while (living := [pid for pid in self.family if alive(pid)]) and time.monotonic() < end:
            time.sleep(0.05)
        return living


def children(pid: int) -> list[int]:
    """Processes below it, theirs too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def server():
    with Server("--max-bytes", "100KB") as server:
        yield server
        server.process.terminate()
        code, said = server.end()
        assert code == 0, said
        assert server.left() == []


@linux
class TestHTTP:
    def test_answers(self, server, digits):
        content, expected = digits.contents[0], digits.expected[0]
        encoded = json.dumps({"image": base64.b64encode(content).decode(), "topk": 10}).encode()
        form = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + content
        form += b"\r\n--x--\r\n"
        for path, body, kind in (
            ("/predict?topk=10", content, "image/png"),
            ("/predict", encoded, "application/json"),
            ("/predict?topk=10", form, "multipart/form-data; boundary=x"),
            ("/embed", content, "application/octet-stream"),
            ("/predict?output=embedding", content, "image/png"),
        ):
            status, headers, answer = server.ask(path, body, kind)
            assert (status, headers["content-type"]) == (200, "application/json"), answer
            assert expected.holds(json.loads(answer))

    @pytest.mark.parametrize(
        ("path", "body", "kind", "status", "detail"),
        [
            ("/predict", b"text", "image/png", 400, "not an image in a known format"),
            ("/predict?topk=0", b"text", "image/png", 400, "topk must be 1 to 10, got 0"),
            ("/predict", b"", "image/png", 400, "the image is empty"),
            ("/predict", b"text", "text/plain", 415, "content type text/plain is not taken"),
            ("/predict", b"text", None, 415, "content type none/stated is not taken"),
            ("/predict", bytes(100_001), "image/png", 413, "larger than 100000 bytes"),
            ("/elsewhere", b"", "image/png", 404, "Not Found"),
        ],
    )
    def test_refusals(self, server, path, body, kind, status, detail):
        found, _, answer = server.ask(path, body, kind)
        assert (found, json.loads(answer)["detail"][: len(detail)]) == (status, detail)

    def test_a_body_without_a_length(self, server):
        """It comes in chunks, and is cut at the limit."""
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        chunks = iter([bytes(60_000)] * 2)
        headers = {"content-type": "image/png"}
        connection.request("POST", "/predict", chunks, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()

    def test_a_slow_client_gives_its_place_back(self, digits):
        """It sends its headers and three bytes, and keeps the only place for a second."""
        with Server("--max-waiting", "1", "--request-seconds", "1") as server:
            host, port = urlsplit(server.url).netloc.split(":")
            head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\n"
            with socket.create_connection((host, int(port)), timeout=20) as slow:
                slow.sendall(head + b"content-length: 99\r\n\r\nabc")
                until(lambda: samples(server)["r2n_requests_under_way"] == 1)
                assert slow.recv(99).startswith(b"HTTP/1.1 408 ")
            assert server.ask("/predict", digits.contents[0])[0] == 200

    def test_get_of_predict(self, server):
        assert server.ask("/predict")[0] == 405

    def test_health_info_and_no_pages_with_foreign_scripts(self, server):
        assert server.ask("/health")[::2] == (200, b"ok")
        model = json.loads(server.ask("/info")[2])["model"]
        assert (model["name"], model["classes"], model["device"]) == ("digits", 10, "cpu")
        (weights,) = model["weights"]
        assert re.fullmatch(r"sha256 \w+, licence apache-2.0", weights)
        assert [server.ask(path)[0] for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3

    def test_mixed_load_and_metrics(self, server, digits):
        """Every third is no image; every answer is that of its own."""
        before = samples(server)
        contents = [*digits.contents[:4], b"text", b"\x89PNG"]
        requests = [Request("/predict?topk=10", content) for content in contents]
        volley = fire(server.url, requests, 8, 60)
        assert len(volley.shots) == 60
        for shot in volley.shots:
            place = shot.place % len(contents)
            assert shot.status == (200 if place < 4 else 400), shot
            assert place >= 4 or digits.expected[place].holds(shot.answer)
        assert volley.batch > 1
        after = samples(server)
        grown = {name: value - before.get(name, 0) for name, value in after.items()}
        assert grown['r2n_requests_total{status="200"}'] == 40
        assert grown['r2n_requests_total{status="400"}'] == 20
        assert grown["r2n_batch_size_sum"] == 60
        assert grown["r2n_request_seconds_count"] == 60
        assert 0 < grown["r2n_batch_size_count"] < 60
        assert after["r2n_requests_under_way"] == 0


def samples(server: Server) -> dict[str, float]:
    lines = server.ask("/metrics")[2].decode().splitlines()
    pairs = (line.rpartition(" ")[::2] for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@linux
def test_overload_then_a_graceful_end(digits):
    """Two requests are under way, a third is refused; SIGTERM lets the two be answered."""
    with Server("--timeout-ms", SLOW_BATCH, "--max-waiting", "2") as server:
        asked = [server.asking(content) for content in digits.contents[:2]]
        until(lambda: samples(server)["r2n_requests_under_way"] == 2)
        status, headers, _ = server.ask("/predict", digits.contents[0])
        assert (status, headers["retry-after"]) == (503, "1")
        server.process.terminate()
        code, said = server.end()
        for place, (thread, found) in enumerate(asked):
            thread.join()
            assert found[0][0] == 200
            assert digits.expected[place].holds(json.loads(found[0][2]))
        assert code == 0, said
        assert "Traceback" not in said
        assert server.left() == []


def until(true, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@linux
@pytest.mark.slow
class TestEnds:
    def test_ctrl_c_of_the_whole_group(self, digits):
        """A terminal sends it to every process: the workers leave it to the server."""
        with Server("--timeout-ms", SLOW_BATCH) as server:
            thread, found = server.asking(digits.contents[0])
            until(lambda: samples(server)["r2n_requests_under_way"] == 1)
            for pid in server.family:
                os.kill(pid, signal.SIGINT)
            code, said = server.end()
            thread.join()
            assert (found[0][0], code) == (200, 0), said
            assert "Traceback" not in said
            assert server.left() == []

    def test_a_second_ctrl_c_does_not_wait(self):
        with Server("--timeout-ms", "20000") as server:
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
            connection.request("POST", "/predict", b"x", {"content-type": "image/png"})
            until(lambda: samples(server)["r2n_requests_under_way"] == 1)
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            server.process.send_signal(signal.SIGINT)
            assert server.end(10)[0] == 130
            assert server.left() == []

    def test_what_is_not_answered_in_time_is_told(self):
        with Server("--timeout-ms", "20000", "--stop-seconds", "1") as server:
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
            connection.request("POST", "/predict", b"x", {"content-type": "image/png"})
            until(lambda: samples(server)["r2n_requests_under_way"] == 1)
            server.process.terminate()
            code, said = server.end(15)
            assert code == 1
            assert "1 request had no answer after 1 s" in said
            assert server.left() == []

    def test_a_worker_that_dies_ends_the_server(self, digits):
        """Whoever waits is told, and the exit code is for whoever starts it anew."""
        with Server("--timeout-ms", "20000") as server:
            thread, found = server.asking(digits.contents[0])
            until(lambda: samples(server)["r2n_requests_under_way"] == 1)
            os.kill(worker_of(server), signal.SIGKILL)
            code, said = server.end()
            thread.join()
            assert (found[0][0], json.loads(found[0][2])) == (
                503,
                {"detail": "the model's process ended"},
            )
            assert code == 1
            assert "a worker process ended" in said
            assert server.left() == []

    def test_a_server_that_is_killed_leaves_nothing(self, digits):
        with Server() as server:
            assert len(server.family) >= 3  # with LitServe's queues and a worker
            assert server.ask("/predict", digits.contents[0])[0] == 200
            before = len(server.family)
            server.family = [server.process.pid, *children(server.process.pid)]
            assert len(server.family) > before  # with what decodes
            server.process.kill()
            assert server.left() == []

    def test_a_model_that_cannot_be_loaded(self, tmp_path):
        (tmp_path / "weights.pth").write_bytes(b"no weights")
        weights = str(tmp_path / "weights.pth")
        with pytest.raises(ConfigError, match=r"did not start: r2n: error: .*weights\.pth"):
            Server("--weights", weights)

    def test_load(self, capsys):
        """The load test as users run it: 1, 8 and 32 threads, every answer held to its image."""
        arguments = [str(DIGITS / "images"), "--model", f"local-dir:{DIGITS}", "--requests", "200"]
        assert load_test([*arguments, "--threads", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:3] for line in lines[2:]] == [
            [str(threads), "200", "0"] for threads in (1, 8, 32)
        ]


def worker_of(server: Server) -> int:
    return next(
        p for p in server.family if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()
    )
