"""Fixtures for every test: random weights, the one measure of error, a benchmark record.

What is slow, or weekly, is left out wherever `-m` does not name it: by the default expression, and
also by `-m gpu`, which takes a minute or two on a GPU; `-m "gpu and slow"` compiles hundreds of
kernels. CI runs with `-n 2 --dist loadfile`, in two processes.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from r2n_kernels import reference
from r2n_kernels.benchmarks.records import Record
from r2n_kernels.kernels.targets import target_of
from r2n_kernels.proof.tolerance import relative_error

if not torch.cuda.is_available() or target_of(torch.device("cuda", 0)) is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is imported


LONG = ("slow", "weekly")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of xdist's processes its share of the CPUs: OpenMP's threads spin while they wait,
    so two processes of two threads on two cores take twice the time of two of one."""
    if processes := getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if terminal := session.config.pluginmanager.get_plugin("terminalreporter"):
        session.config.pluginmanager.register(AtOnce(terminal))


class AtOnce:
    """It names a failure when it happens: a run that is stopped never comes to its summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message.partition("\n")[0] if crash else report.longreprtext
            self.terminal.write_line(f"\nFAILED {report.nodeid}: {reason}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """An expression on the command line takes the place of the default one, 'not slow'.

    What is weekly among slow tests is weekly.
    """
    expression = config.option.markexpr
    unnamed = [mark for mark in LONG if not re.search(rf"\b{mark}\b", expression)]
    if expression:
        kept, left = [], []
        for item in items:
            marks = (mark for mark in reversed(LONG) if item.get_closest_marker(mark))
            (left if next(marks, None) in unnamed else kept).append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one process with `--dist loadfile`."""
    if config.getvalue("dist") != "loadfile":
        return None
    from .by_file import ByFile

    return ByFile(config, log)


X = torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))


def assert_same(
    model: Callable[[Tensor], Tensor], network: nn.Module, x: Tensor = X, tolerance: float = 2e-4
) -> None:
    """Compare what a model or a graph of it makes of x with what the network makes of it."""
    with torch.no_grad():
        torch.testing.assert_close(model(x), network(x), rtol=tolerance, atol=tolerance)


@contextmanager
def within_cpu(seconds: float, told: object = None) -> Iterator[None]:
    """Assert that what it holds takes the calling thread fewer seconds of CPU time than these.

    Only the thread counts: torch's others spin on after their work. The garbage collector waits: a
    pass over all that is there may take more than a second.
    """
    gc.disable()
    start = time.thread_time()
    try:
        yield
        taken = time.thread_time() - start
    finally:
        gc.enable()
    assert taken < seconds, told


def signal_self(number: int) -> None:
    """Send this process a signal that a test handles: one too late would end the whole run."""
    if signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
        os.kill(os.getpid(), number)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no written file take its place: the disk is full."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # modules and tests, a million objects: each full pass would look at all of them


@pytest.fixture(scope="module", autouse=True)
def quick_collector() -> Iterator[None]:
    """What a file has made and what still lives is not looked at again."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def quick_interpreter() -> Iterator[None]:
    """Whatever a test interprets takes a third of the time."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    from .interpreter import quick

    with quick():
        yield


@pytest.fixture(scope="session")
def randomize() -> Callable[..., nn.Module]:
    return reference.randomize


@pytest.fixture(scope="session")
def rel_error() -> Callable[[Tensor, Tensor], float]:
    return relative_error


@pytest.fixture(scope="session")
def record() -> Record:
    return Record(
        subject="r2n_kernels", model="res2net50_26w_4s", dtype="float32", layout="channels_last",
        backend="auto", batch=8, height=224, width=224, scope="model", step=None,
        count=1, macs=34_000_000_000, bytes=None, memory=None, peak=None,
        machine={"cpu": "a chip", "gpu": None, "driver": None, "threads": 2, "torch": "2.14.1",
                 "triton": "3.8.0"},
        commit="0" * 40, dirty=False, kernels="0123456789abcdef", time="2026-11-25T00:00:00+00:00",
        samples=((0.11,), (0.1,), (0.12,)), again=((0.1,), (0.11,), (0.12,)),
        parity={"passed": True, "error": 1e-6, "limit": 1e-5},
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for sm_80 and sm_90, whose code is made up: for everything but running it."""
    from .bundle import handmade  # here: it imports kernels, which read the environment

    path = tmp_path_factory.mktemp("bundle") / "small.r2n"
    handmade.make(path)
    return path


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for LD_LIBRARY_PATH, with a libcuda.so.1 that writes down what it is asked."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a stand-in for CUDA's driver needs Linux and a C compiler, cc")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).parent / "bundle" / "libcuda.c"
    options = "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"
    command = [compiler, *options, "-o", str(folder / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder
