"""A server runs here: its workers start, it listens, and when it is told to stop nothing is left.

LitServe's own `run` forks an HTTP process, and knows no SIGTERM: it dies of one, and its workers
live on. Here HTTP is in the first process, where uvicorn answers what is under way before it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn
from fastapi import HTTPException
from litserve import LitServer
from litserve.utils import LitAPIStatus, wrap_litserve_start

from ..errors import ConfigError
from ..text import counted
from .api import ImageAPI, Load
from .application import build, open_for
from .options import Options

Say = Callable[[str], None]
BACKLOG = 2048  # connections that wait to be accepted; uvicorn's own
TICK = 0.05  # seconds between looks at workers that load


def serve(load: Load, name: str, options: Options, say: Say) -> int:
    """Answer requests until a signal comes; return the exit code.

    load: makes the model, in each worker. Returns 0 after SIGTERM or SIGINT when all was answered,
    1 if a worker died or requests had to be left. Raises ConfigError, as for an address that is
    taken or a model that cannot be loaded, and KeyboardInterrupt for a signal before it listens.
    """
    api = ImageAPI(load, name, options)
    with contextlib.closing(bound(options)) as address, workers_of(build(api, options)) as server:
        facts = facts_of(api, server.inference_workers)
        open_for(server, facts, options)
        for line in facts["weights"]:
            say(line)
        address.listen(BACKLOG)  # before it is said; uvicorn takes what comes meanwhile
        host, port = address.getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        runs = f"{facts['dtype']}, {facts['backend']}, {facts['device']}"
        say(f"serving {name} ({runs}) on http://{where}:{port}; Ctrl-C or SIGTERM ends it")
        return Listener(server, options, say).run(address)


def bound(options: Options) -> socket.socket:
    """Return a socket at the address, which does not listen yet: the model comes first."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise ConfigError(f"cannot listen on {where}: {error.strerror or error}") from error
    return found


@contextlib.contextmanager
def workers_of(server: LitServer) -> Iterator[LitServer]:
    """Start LitServe's queues and workers; end every process of them, whatever happens."""
    before = set(multiprocessing.active_children())
    launch = server.launch_inference_worker

    def launch_with_siblings(api: ImageAPI) -> list[BaseProcess]:
        started = set(multiprocessing.active_children()) - before
        api.siblings = [process.pid for process in started if process.pid]
        return launch(api)

    server.launch_inference_worker = launch_with_siblings
    try:
        with wrap_litserve_start(server):
            yield server
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()


def facts_of(api: ImageAPI, workers: Sequence[BaseProcess]) -> dict[str, Any]:
    """Wait until each worker has its model. Raises ConfigError with what one of them says."""
    reports: list[Any] = []
    while len(reports) < len(workers):
        dead = not all(worker.is_alive() for worker in workers)
        while not api.reports.empty():
            reports.append(api.reports.get())
        reason = next((report for report in reports if isinstance(report, str)), None)
        if reason or dead:
            raise ConfigError(reason or "a worker ended while it loaded the model")
        time.sleep(TICK)
    return reports[0]


class Listener:
    """A listener is uvicorn's server, which also looks whether the workers live."""

    def __init__(self, server: LitServer, options: Options, say: Say) -> None:
        self.server, self.options, self.say = server, options, say
        self.lost = False
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(
                server.app, log_level="warning", access_log=False, timeout_notify=1,
                callback_notify=self._look, timeout_graceful_shutdown=options.stop_seconds,
            )
        )  # fmt: skip

    def run(self, address: socket.socket) -> int:
        """Listen until a signal, or the end of a worker."""
        # uvicorn raises the signal that ended it once more, after all was answered
        with contextlib.suppress(KeyboardInterrupt):
            self.uvicorn.run([address])
        if self.uvicorn.force_exit:
            raise KeyboardInterrupt
        if self.lost:
            self.say("a worker process ended; so does the server")
        left = len(self.server.response_buffer)
        if left:
            asked = counted(left, "request")
            self.say(f"{asked} had no answer after {self.options.stop_seconds} s")
        return int(self.lost or left > 0)

    async def _look(self) -> None:
        """Where a worker has ended, answer whoever waits for it, and stop."""
        if all(worker.is_alive() for worker in self.server.inference_workers):
            return
        self.lost = self.uvicorn.should_exit = True
        error = HTTPException(503, "the model's process ended")
        for item in self.server.response_buffer.values():
            item.response = error, LitAPIStatus.ERROR
            item.event.set()
