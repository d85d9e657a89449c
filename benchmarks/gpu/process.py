"""A command runs in a process group of its own, ended as a whole; its output goes to a log."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

GRACE = 3.0  # seconds from asking a group to end until it is killed
PAUSE = 0.02  # seconds between two looks
FEW = 3
KEPT = 200  # last lines of a log, in memory
READY = b"ready"
# what an error's text begins with; torch adds lines of advice behind it
TELLING = re.compile(r"(^|\s|\.)[A-Z]\w*(Error|Exception|OutOfResources)\b|\berror:|\bFAIL")


class Log:
    """A Log keeps what a section prints: on disk until a write fails, the last lines in memory."""

    def __init__(self, path: Path, lost: Callable[[str, OSError], None]) -> None:
        """Call lost(file's name, error) for the error that ends the writing."""
        self.tail: deque[bytes] = deque(maxlen=KEPT)
        self._path, self._lost = path, lost
        self._on_disk = True

    def write(self, line: bytes) -> None:
        self.tail.append(line)
        if self._on_disk:
            try:
                with open(self._path, "ab", buffering=0) as file:
                    file.write(line)
            except OSError as error:
                self._on_disk = False
                self._lost(self._path.name, error)

    def lines(self) -> list[str]:
        return [line.decode(errors="replace") for line in list(self.tail)]


class Process:
    """A Process starts at once. started: by the monotonic clock; ready: set when READY comes."""

    def __init__(
        self, commands: Sequence[Sequence[str]], env: Mapping[str, str], log: Log, cwd: Path
    ) -> None:
        """Raise OSError where it cannot be started."""
        self.started, self.ready = time.monotonic(), threading.Event()
        self._process = subprocess.Popen(
            ["bash", "-c", " && ".join(map(shlex.join, commands))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(env), cwd=cwd, start_new_session=True,
        )  # fmt: skip
        self._input: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # a pipe
        self._output: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: Log) -> None:
        with self._output as output:
            for line in output:
                log.write(line)
                if line.strip() == READY:
                    self.ready.set()

    def go(self) -> None:
        """Give the process the line that it may wait for, and the end of its input."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `wait` will see
            self._input.write(b"go\n")
            self._input.close()

    def ended(self) -> bool:
        if self._process.returncode is not None:
            return True
        # left unreaped until `close`: its number, which is the group's, stays its own
        return bool(os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))

    def wait(self, until: float) -> bool:
        """Wait until it has ended, or until then on the monotonic clock. Return whether it has."""
        while not self.ended():
            if time.monotonic() >= until:
                return False
            time.sleep(PAUSE)
        return True

    def close(self) -> int:
        """End what is left of the group. Return the exit code, negative after a signal."""
        if self._process.returncode is None:
            if not self.ended():
                os.killpg(self._process.pid, signal.SIGTERM)
                self.wait(time.monotonic() + GRACE)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join(GRACE)  # not for ever: who left the group may hold the pipe
            with contextlib.suppress(BrokenPipeError):
                self._input.close()
        return self._process.returncode


def last_line(lines: Iterable[str]) -> str:
    """Return the last line that is not blank."""
    return next(iter(_said(lines)[-1:]), "")


def reason(lines: Iterable[str]) -> str:
    """Return the last lines that name an error, FEW at most; else the last line."""
    said = _said(lines)
    return " | ".join([line for line in said if TELLING.search(line)][-FEW:] or said[-1:])


def _said(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip(" =\t\r\n-")]


def ending(code: int) -> str:
    """Say how a process ended: an exit code, or the signal that ended it."""
    if code > 128:  # bash says so of a child's signal
        code = 128 - code
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
