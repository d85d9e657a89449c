"""Tiny networks with random statistics, and a Hub on loopback."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import time
import types
from collections import Counter

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.reference import Res2Net

TINY = Res2NetConfig((1, 1, 1, 1), planes=(8, 16, 24, 32), base_width=32, num_classes=5)
COMMIT = "a" * 40
_ROUTE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


def random_state(config: Res2NetConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with BatchNorm statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    state = Res2Net(config).state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        else:
            tensor.normal_(generator=generator)
    return state


@pytest.fixture
def tiny() -> Res2NetConfig:
    return TINY


@pytest.fixture(
    params=[
        TINY,
        TINY.replace(layers=(2, 1, 1, 2), scale=3),
        TINY.replace(scale=1),
        TINY.replace(cardinality=2),
        TINY.replace(stem_width=8, deep_stem=True, avg_down=True),
        TINY.replace(num_classes=0, in_chans=4),
    ],
    ids=["plain", "scale3", "scale1", "cardinality", "deep", "headless"],
)
def config(request) -> Res2NetConfig:
    return request.param


@pytest.fixture
def make_state():
    return random_state


@pytest.fixture
def state(make_state, tiny):
    return make_state(tiny)


@pytest.fixture
def assert_same():
    def check(found, expected):
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)

    return check


class FakeHub:
    """Serves `files[repo, name]`; `modes[name]` says how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.modes: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.released = threading.Event()  # ends the stalls
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        return

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        match = _ROUTE.fullmatch(self.path)
        repo, revision, name = match.groups() if match else ("", "", "")
        mode = self.hub.modes.get(name, "serve")
        self.hub.requests[f"{self.command} {name}@{revision}"] += 1
        if mode == "stall-head":
            self.hub.released.wait(30)
            self.close_connection = True
            return
        if mode == "gated":
            self._refuse(403, "GatedRepo")
        elif mode == "busy":
            self._refuse(503, None)
        elif mode == "portal":
            self._send(b"<html>log in</html>", {}, body)
        elif not any(known == repo for known, _ in self.hub.files):
            self._refuse(401, "RepoNotFound")  # the real Hub hides whether it exists
        elif revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif (repo, name) not in self.hub.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._serve(self.hub.files[repo, name], name, mode, body)

    def _serve(self, data: bytes, name: str, mode: str, body: bool) -> None:
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git}"'}
        if not name.endswith(".json"):  # kept in large file storage
            etag = hashlib.sha256(b"other" if mode == "wrong-hash" else data).hexdigest()
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        elif mode == "wrong-hash":
            headers["ETag"] = '"' + "b" * 40 + '"'
        if mode == "once-bad" and body and self.hub.requests[f"GET {name}@main"] == 1:
            data = bytes(reversed(data))
        cut = len(data) // 2 if mode in ("truncate", "stall", "short") else None
        if mode == "short":
            data = data[:cut] if body else data
        self._send(data, headers, body, None if mode == "short" else cut, mode == "stall")

    def _send(self, data, headers, body, cut=None, stall=False) -> None:
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        self.wfile.write(data[:cut])
        self.wfile.flush()
        if stall:
            self.hub.released.wait(30)
        if cut is not None:
            self.close_connection = True

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub_home(tmp_path, monkeypatch):
    """No endpoint, no token, a fresh cache, and little patience."""
    from huggingface_hub import constants, file_download

    for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE",
                 "TRANSFORMERS_OFFLINE", "HF_TOKEN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    # Between its retries huggingface_hub sleeps a second.
    clock = types.SimpleNamespace(**{key: getattr(time, key) for key in dir(time)})
    clock.sleep = lambda _: None
    monkeypatch.setattr(file_download, "time", clock, raising=False)
    return tmp_path / "home"


@pytest.fixture
def hub(hub_home, monkeypatch):
    server = FakeHub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.close()
