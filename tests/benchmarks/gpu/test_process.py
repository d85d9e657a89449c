from __future__ import annotations

import os
import signal
import time

import pytest

from r2n_kernels.benchmarks.gpu import process as processes
from r2n_kernels.benchmarks.gpu.process import KEPT, Log, Process, ending, last_line, reason


@pytest.fixture
def log(tmp_path) -> Log:
    return Log(tmp_path / "a.log", lambda name, error: pytest.fail(str(error)))


def started(log, tmp_path, *scripts: str) -> Process:
    return Process([("sh", "-c", script) for script in scripts], os.environ, log, tmp_path)


def alive(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def soon(number: int) -> bool:
    """Whether it is gone within a second."""
    until = time.monotonic() + 1
    while alive(number) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(number)


def test_commands_run_until_one_fails(log, tmp_path):
    process = started(log, tmp_path, "echo one; echo two >&2", "exit 3", "echo never")
    assert process.wait(time.monotonic() + 10)
    assert process.close() == 3
    assert log.lines() == ["one\n", "two\n"]
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


def test_a_group_ends_as_a_whole(log, tmp_path, monkeypatch):
    """Also one that ignores the first signal, and its child."""
    monkeypatch.setattr(processes, "GRACE", 0.5)
    process = started(
        log, tmp_path, "trap '' TERM; (sleep 60 & echo $!; wait) & sleep 60; sleep 60"
    )
    assert not process.wait(time.monotonic() + 0.3)
    (child,) = map(int, log.lines())
    assert alive(child)
    start = time.monotonic()
    assert process.close() == -signal.SIGKILL
    assert time.monotonic() - start < 6
    assert soon(child)
    assert process.close() == -signal.SIGKILL


def test_what_a_program_leaves_behind_ends_with_it(log, tmp_path):
    process = started(log, tmp_path, "sleep 60 & echo $!")
    assert process.wait(time.monotonic() + 10)
    assert process.close() == 0
    assert soon(int(log.lines()[0]))


def test_it_says_ready_and_waits(log, tmp_path):
    process = started(log, tmp_path, "echo ready; read line; echo got $line")
    assert process.ready.wait(10)
    assert not process.ended()
    process.go()
    assert process.wait(time.monotonic() + 10)
    process.close()
    assert last_line(log.lines()) == "got go"


def test_go_to_one_that_has_ended(log, tmp_path):
    process = started(log, tmp_path, "exit 0")
    assert process.wait(time.monotonic() + 10)
    process.go()
    assert process.close() == 0


def test_a_full_disk_is_told_once(tmp_path):
    (tmp_path / "a.log").symlink_to("/dev/full")
    told = []
    log = Log(tmp_path / "a.log", lambda *what: told.append(what))
    for number in range(2 * KEPT):
        log.write(b"%d\n" % number)
    assert [(name, error.strerror) for name, error in told] == [
        ("a.log", "No space left on device")
    ]
    assert len(log.lines()) == KEPT
    assert log.lines()[-1] == f"{2 * KEPT - 1}\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a", "b", "", "====="], "b"),
        ([], ""),
        (
            [
                "Traceback (most recent call last):",
                "RuntimeError: CUDA error: an illegal memory access was encountered",
                "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
            ],
            "RuntimeError: CUDA error: an illegal memory access was encountered",
        ),
        (["r2n: error: no GPU", "more"], "r2n: error: no GPU"),
        (
            ["FAILED a", "FAILED b", "FAILED c", "selftest: FAIL (17 checks)", "ok"],
            "FAILED b | FAILED c | selftest: FAIL (17 checks)",
        ),
        (["========= ERROR SUMMARY: 3 errors"], "========= ERROR SUMMARY: 3 errors"),
    ],
)
def test_why_it_failed(lines, expected):
    assert reason(lines) == expected


def test_how_it_ended():
    assert [ending(code) for code in (3, -9, 128 + 11)] == ["exit code 3", "SIGKILL", "SIGSEGV"]
