"""Headless Chromium, driven by its DevTools protocol over two pipes; every wait has an end."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 60  # that any answer may take
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe", "--hide-scrollbars",
)  # fmt: skip
# Chromium reads commands from file 3 and writes answers to file 4.
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


@dataclass
class Page:
    """What a page asked for, and what it complained about."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def evaluate(self, script: str) -> Any:
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Of the whole page."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def send(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **arguments)


class Browser:
    """A context manager; whatever happens, no process is left."""

    def __init__(self, program: str, profile: Path) -> None:
        self.program, self.profile = program, profile
        self.pages: dict[str, Page] = {}
        self.loaded: set[str] = set()
        self.sent = 0
        self.unread = b""

    def __enter__(self) -> Browser:
        theirs_in, ours_out = _high_pipe()
        ours_in, theirs_out = _high_pipe()
        self.ours_in, self.ours_out = ours_in, ours_out
        launch = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out)]
        self.process = subprocess.Popen(
            [*launch, self.program, *FLAGS, f"--user-data-dir={self.profile}"],
            pass_fds=(theirs_in, theirs_out), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # it is the leader of its own group
        self.process.wait()
        os.close(self.ours_in)
        os.close(self.ours_out)

    def open(self, url: str, width: int, height: int, *, dark: bool = False) -> Page:
        """The page when it has loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.send("Emulation.setEmulatedMedia", features=[scheme])
        self.loaded.discard(session)
        page.send("Page.navigate", url=url)
        end = time.monotonic() + SECONDS
        while session not in self.loaded:
            self._handle(self._next(end))
        return page

    def send(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": arguments}
        message |= {"sessionId": session} if session else {}
        os.write(self.ours_out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            found = self._next(end)
            if found.get("id") == self.sent:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self._handle(found)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self.unread:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.ours_in], [], [], left)[0]:
                raise TimeoutError(f"no answer from the browser in {SECONDS} s")
            part = os.read(self.ours_in, 2**20)
            if not part:
                raise RuntimeError("the browser ended")
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def _handle(self, event: dict[str, Any]) -> None:
        page, arguments = self.pages.get(event.get("sessionId")), event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self.loaded.add(event["sessionId"])
            case "Network.requestWillBeSent" if page:
                page.requests.append(arguments["request"]["url"])
            case "Runtime.exceptionThrown" if page:
                page.complaints.append(json.dumps(arguments["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if page and arguments["type"] in ("error", "warning"):
                page.complaints.append(json.dumps(arguments["args"]))
            case "Log.entryAdded" if page:
                page.complaints.append(arguments["entry"]["text"])


def _high_pipe() -> tuple[int, int]:
    """Of numbers that the child's 3 and 4 do not overwrite."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high
