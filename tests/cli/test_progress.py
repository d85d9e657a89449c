from __future__ import annotations

import io
import logging
import re
from contextlib import redirect_stderr

import pytest

from r2n_kernels.cli import progress as command
from r2n_kernels.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "r2n_kernels.cli")
    return caplog


def test_bar_on_a_terminal_goes_at_the_end(terminal, log):
    with redirect_stderr(terminal), progress(8, "img") as bar:
        bar.update(8)
        bar.refresh()
        assert re.search(r"100%.* 8/8 \[.*img/s\]$", terminal.getvalue())
    assert re.search(r"\r +\r$", terminal.getvalue())
    assert log.messages == []


def test_bar_is_hidden_while_lines_are_printed(terminal):
    with redirect_stderr(terminal), progress(8, "img") as bar:
        with bar.external_write_mode():
            assert re.search(r"\r +\r$", terminal.getvalue())
            bar.update(4)
        assert "4/8" in terminal.getvalue()


def test_erased_after_an_error(terminal):
    with pytest.raises(RuntimeError), redirect_stderr(terminal), progress(4, "img"):
        raise RuntimeError
    assert re.search(r"\r +\r$", terminal.getvalue())


def test_length_may_come_late(terminal):
    with redirect_stderr(terminal), progress(None, "kernels") as bar:
        bar.total = 3
        bar.update(1)
        bar.refresh()
    assert "1/3" in terminal.getvalue()


def test_a_line_per_period_and_a_last_one_off_a_terminal(log, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(300, "img") as bar:
        for _ in range(25):
            now[0] += 5
            bar.update(2)
    assert [re.search(r"(\d+)/300 \[", line)[1] for line in log.messages] == ["24", "48", "50"]
    assert "s/img" in log.messages[0]


def test_a_short_run_logs_nothing(log):
    with progress(4, "img") as bar, bar.external_write_mode():
        bar.update(4)
    assert log.messages == []


@pytest.mark.parametrize("case", ["dumb", "closed"])
def test_silent(case, terminal, monkeypatch, log):
    monkeypatch.setenv("TERM", case)
    monkeypatch.setattr(command, "PERIOD", 0.0 if case == "closed" else 60.0)
    with redirect_stderr(None if case == "closed" else terminal), progress(4, "img") as bar:
        bar.update(4)
    assert terminal.getvalue() == ""
    assert log.messages == []


def test_no_thread_is_started(log, monkeypatch):
    monkeypatch.setattr("tqdm.std.tqdm.monitor", None)  # somebody else's bar may have one
    with progress(4, "img") as bar:
        assert bar.monitor is None
