"""Functions are called side by side, in worker processes that may crash without harm.

A worker reads pickled (function, argument) from standard input and writes (passed, answer) to
standard output; the environment of its parent decides nothing there but what Triton reads.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from ..errors import KernelError

MESSAGE = 1200  # characters of an error's text that are kept


class Worker:
    """A Worker is one process, started by the first call and again after a crash."""

    def __init__(
        self, folder: Path, number: int, settings: Mapping[str, str], *, keep: bool
    ) -> None:
        self.log = folder / f"{number}.log"
        # kernels must be compiled, not interpreted
        self.environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        self.environment |= settings
        if not keep:
            self.environment["TRITON_CACHE_DIR"] = str(folder / "triton")
        self.process: subprocess.Popen[bytes] | None = None
        self.closed = False

    def ask(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Compute function(argument) there. Raises KernelError for whatever goes wrong."""
        process = self._running()
        questions, answers = process.stdin, process.stdout
        assert questions is not None  # both are pipes
        assert answers is not None
        seen = self.log.stat().st_size
        try:
            pickle.dump((function, argument), questions)
            questions.flush()
            passed, answer = pickle.load(answers)
        except (EOFError, BrokenPipeError):
            passed, answer = False, f"the compiler crashed ({_ending(process.wait())})"
            self.process = None
        if not passed:
            raise KernelError("\n".join([answer[:MESSAGE], *self._complaints(seen)]))
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self.closed:
            raise KernelError("stopped")
        if self.process is None:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "r2n_kernels.compiled.pool"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    env=self.environment,
                    start_new_session=True,  # Ctrl-C is for the parent, which then ends us
                )  # fmt: skip
        return self.process

    def _complaints(self, seen: int) -> list[str]:
        """Return errors that the compiler printed: MLIR's do not reach Python's exceptions."""
        text = self.log.read_bytes()[seen:].decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if "error" in line.lower()]
        return [line[:MESSAGE] for line in lines[:3]]

    def close(self) -> None:
        """End the process at once, even in the middle of its work."""
        self.closed = True
        if self.process is not None:
            self.process.kill()


class Pool:
    """A Pool has `jobs` workers. It is a context manager: leaving ends them, even in mid-work.

    settings: environment variables of the workers, beside this process's.
    keep: what Triton compiles stays in the user's cache, and may be found there; else its cache is
    the pool's own, empty at first.
    """

    def __init__(
        self, jobs: int, settings: Mapping[str, str] = MappingProxyType({}), *, keep: bool = False
    ) -> None:
        self.jobs = jobs
        self._folder = tempfile.TemporaryDirectory(prefix="r2n-aot-")
        self._workers = [
            Worker(Path(self._folder.name), number, settings, keep=keep) for number in range(jobs)
        ]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="r2n-aot")

    def map(
        self, function: Callable[[Any], Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (argument, its result or a KernelError), in the order in which they are done."""
        futures = {self._threads.submit(self._ask, function, a): a for a in arguments}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, KernelError):
                raise error
            yield futures[future], error or future.result()

    def _ask(self, function: Callable[[Any], Any], argument: Any) -> Any:
        worker = self._idle.get()
        try:
            return worker.ask(function, argument)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            if worker.process is not None:
                worker.process.communicate()
        self._folder.cleanup()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve() -> None:
    """Answer calls until standard input ends: the parent is done, or gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what compilers print must not mix with the answers
    while True:
        try:
            function, argument = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, function(argument))
        except Exception as error:  # noqa: BLE001  whatever a compiler raises is the answer
            answer = (False, f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve()
