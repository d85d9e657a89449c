"""Decode in processes that can be stopped: for images from anyone."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ConfigError, ImageError, R2NError
from . import link
from .decoder import Decoder
from .reading import content

STARTS = 3  # attempts, because the system may kill one where memory is short
START_SECONDS = 60  # that a process may take until it is ready; 0.1 are usual

# Starts a worker with its parent's sys.path and its parent's copy of this package, but without
# `site`, the main module and the environment: 0.1 s and 21 MB.
BOOT = """
import importlib.util, json, sys
lifeline, init, sys.path[:] = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location("r2n_kernels", init)
module = sys.modules["r2n_kernels"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from r2n_kernels.decode.worker import main
main(lifeline)
"""
# glibc would give back the memory of each image, and fetch it anew page by page for the next one.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
INIT = str(Path(__file__).resolve().parents[1] / "__init__.py")


class IsolatedDecoder:
    """An IsolatedDecoder does what its decoder does, in processes of its own.

    Any thread may call it; there are as many processes as calls at once, each started by the first
    that needs it. Pixels of an image within the limits are those of the decoder, bit for bit. A
    process that takes longer than `limits.seconds`, or dies, is replaced, and its image refused. No
    process outlives `close()`, nor the one that started it, even if that is killed.

    It must be closed. Relative paths are those of the folder that a process was started in.

    Raises ConfigError on a system that is neither Linux nor macOS.
    """

    def __init__(self, decoder: Decoder) -> None:
        if os.name != "posix":
            raise ConfigError("decoding in processes of their own needs Linux or macOS")
        self.decoder = decoder
        self._lock = threading.Lock()
        self._processes: set[_Process] = set()
        self._idle: list[_Process] = []
        self._closed = False

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, source: Any) -> Image.Image:
        """Return an image of the geometry's mode and size.

        Raises ImageError as the decoder does, "took longer than 30 s" or "the decoder died (signal
        11)"; R2NError if no process can be started, or this was closed.
        """
        message = _message(source)
        process = self._take()
        answered = False
        try:
            result = process.decode(*message)
            answered = True
        except TimeoutError as error:
            seconds = self.decoder.limits.seconds
            raise ImageError(f"took longer than {seconds:g} s") from error
        except (EOFError, ConnectionError) as error:
            raise ImageError(f"the decoder died ({process.end()})") from error
        finally:
            self._put_back(process, answered)
        if isinstance(result, str):
            raise ImageError(result)
        return result

    def close(self) -> None:
        """Kill every process at once; a call that waits for one raises ImageError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for process in self._processes:
                process.kill()
            self._processes.difference_update(idle)
        for process in idle:
            process.end()

    def _take(self) -> _Process:
        """Return a process that is ready, and the caller's alone."""
        for _ in range(STARTS):
            process, ready = self._idle_or_new()
            if ready:
                return process
            try:
                process.wait_until_ready()
                ready = True
                return process
            except (EOFError, OSError):
                ended = process.end()
            finally:
                if not ready:
                    self._put_back(process, False)
        raise R2NError(f"a decoder process did not start ({ended})")

    def _idle_or_new(self) -> tuple[_Process, bool]:
        """Return a process, and whether it is ready."""
        with self._lock:
            if self._closed:
                raise R2NError("this decoder was closed")
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process, True
                self._processes.discard(process)
                process.end()
            try:
                process = _Process(self.decoder)
            except OSError as error:  # no more files or processes for this user
                raise R2NError(f"a decoder process did not start ({error})") from error
            self._processes.add(process)
            return process, False

    def _put_back(self, process: _Process, healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._idle.append(process)
                return
            self._processes.discard(process)
        process.end()


class _Process:
    """One worker process, of which one thread at a time makes use; any may kill it."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._link, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            paths = [path for path in sys.path if isinstance(path, str)]
            boot = json.dumps([lifeline, INIT, paths])
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-W", "ignore", "-c", BOOT, boot],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=[lifeline],
                env={**MALLOC, **os.environ},
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends this one
            )
        except BaseException:
            self._link.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Send what it must know; raise EOFError or OSError (TimeoutError) if it does not start."""
        deadline = time.monotonic() + START_SECONDS
        link.allow(self._link, deadline)
        link.send(self._link, link.SETUP, pickle.dumps((self.decoder, Image.MAX_IMAGE_PIXELS)))
        kind, _ = link.receive(self._link, 0, deadline)
        if kind != link.READY:
            raise link.Garbled(f"a message of kind {kind!r}")

    def decode(self, kind: bytes, body: bytes) -> Image.Image | str:
        """Return the image, or the reason why there is none.

        Raises TimeoutError, and EOFError or ConnectionError if the process died. The answer may
        come from a decoder that an image took over: it is checked, and never unpickled.
        """
        geometry = self.decoder.geometry
        size = len(geometry.mode) * geometry.size[0] * geometry.size[1]  # "L": 1, "RGB": 3
        deadline = time.monotonic() + self.decoder.limits.seconds
        link.allow(self._link, deadline)
        link.send(self._link, kind, body)
        kind, answer = link.receive(self._link, max(size, link.REASON_BYTES), deadline)
        if kind == link.REFUSED:
            return answer.decode("utf-8", "replace")
        if kind != link.PIXELS or len(answer) != size:
            raise link.Garbled(f"{len(answer)} bytes of kind {kind!r}")
        return Image.frombytes(geometry.mode, geometry.size, bytes(answer))

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """Kill the process if it lives, wait for its end, free all it held; say how it ended."""
        self._process.kill()
        code = self._process.wait()
        if self._lifeline >= 0:
            self._link.close()
            os.close(self._lifeline)
            self._lifeline = -1
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _message(source: Any) -> tuple[bytes, bytes]:
    """Return what a worker is sent: a path, or what an open file or a remote object has."""
    found = content(source)
    if isinstance(found, bytes):
        return link.CONTENT, found
    try:
        return link.PATH, os.fsencode(found)
    except UnicodeEncodeError as error:
        raise ImageError("not a possible file name") from error
