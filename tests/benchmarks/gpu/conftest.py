"""Made-up sections, and a runner of them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.gpu.folder import Folder, claim
from r2n_kernels.benchmarks.gpu.runner import Runner
from r2n_kernels.benchmarks.gpu.section import Section

from ...conftest import signal_self


@pytest.fixture
def section() -> Callable[..., Section]:
    """section(name, a Python program or more, ...)"""

    def make(name: str, *programs: str, seconds: float = 20, **rest) -> Section:
        commands = tuple((sys.executable, "-S", "-c", program) for program in programs or ["pass"])
        return Section(name, seconds, commands, **rest)

    return make


@pytest.fixture
def signal_when_there() -> Callable[..., None]:
    """signal_when_there(path, number): this process gets the signal once the file is there."""
    threads = []

    def arrange(path: Path, number: int) -> None:
        def wait() -> None:
            until = time.monotonic() + 60
            while not path.exists() and time.monotonic() < until:
                time.sleep(0.02)
            if path.exists():
                signal_self(number)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield arrange
    for thread in threads:
        thread.join()


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(claim(tmp_path / "out"))


@pytest.fixture
def runner(folder, tmp_path) -> Callable[..., Runner]:
    """runner(sections, ...), not yet run."""

    def make(*sections: Section, missing=lambda need: "", **options) -> Runner:
        settings = {"deadline": 60, "least": 0.1, **options}
        return Runner(sections, folder, os.environ, tmp_path, missing=missing, **settings)

    return make
