from __future__ import annotations

import io
import re

import pytest

from r2n_kernels.cli import progress
from r2n_kernels.cli.progress import ERASE, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return now


def test_rate_and_time_left(clock):
    stream = Terminal()
    with Progress(8, stream) as bar:
        assert stream.getvalue() == f"{ERASE}[{'-' * 24}] 0/8"
        clock[0] += 2
        bar.advance(2)
        assert stream.getvalue().endswith(f"[{'#' * 6}{'-' * 18}] 2/8  1.0 img/s  0:06 left")
        clock[0] += 2
        bar.advance(6)
        assert stream.getvalue().endswith(f"[{'#' * 24}] 8/8  2.0 img/s  0:00 left")
    assert bar.rate == 2.0
    assert stream.getvalue().endswith(ERASE)


def test_drawn_ten_times_a_second_and_at_the_end(clock):
    stream = Terminal()
    with Progress(1000, stream) as bar:
        for _ in range(1000):
            clock[0] += 0.001
            bar.advance(1)
    assert 10 <= stream.getvalue().count("img/s") <= 12
    assert "1000/1000" in stream.getvalue()


def test_hidden_bar_comes_back_at_once(clock):
    stream = Terminal()
    with Progress(4, stream) as bar:
        bar.advance(1)
        bar.hide()
        assert stream.getvalue().endswith(ERASE)
        clock[0] += 0.001
        bar.advance(1)
        assert "2/4" in stream.getvalue()


def test_erased_after_an_error(clock):
    stream = Terminal()
    with pytest.raises(RuntimeError), Progress(4, stream):
        raise RuntimeError
    assert stream.getvalue().endswith(ERASE)


def test_narrow_terminal_is_not_overrun(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    with Progress(4, stream) as bar:
        clock[0] += 1
        bar.advance(2)
    assert all(len(part) < 30 for part in stream.getvalue().split(ERASE))


@pytest.mark.parametrize("case", ["no terminal", "dumb terminal", "nothing to do", "closed"])
def test_silent(clock, monkeypatch, case):
    stream = io.StringIO() if case == "no terminal" else Terminal()
    if case == "dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    if case == "closed":
        monkeypatch.setattr("sys.stderr", None)
    total = 0 if case == "nothing to do" else 4
    with Progress(total, None if case == "closed" else stream) as bar:
        bar.advance(total)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5.4, "0:05"), (75, "1:15"), (3599.7, "1:00:00"), (90061, "25:01:01")]
)
def test_clock(clock, seconds, shown):
    stream = Terminal()
    with Progress(2, stream) as bar:
        clock[0] += seconds
        bar.advance(1)
    assert re.search(r"(\S+) left", stream.getvalue())[1] == shown
