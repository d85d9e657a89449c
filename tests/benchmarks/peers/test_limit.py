from __future__ import annotations

import signal
import threading
import time

import pytest

from r2n_kernels.benchmarks.peers import limit
from r2n_kernels.benchmarks.peers.limit import within

unix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")


def stubborn():
    """As a compiler that goes on whatever it tried fails."""
    while True:
        try:
            time.sleep(5)
        except Exception:  # noqa: BLE001
            continue


def test_what_is_in_time_is_handed_back():
    assert within(5, lambda: "made", "making") == "made"
    with pytest.raises(KeyError, match="its own"):
        within(5, lambda: {}["its own"], "making")


@unix
def test_the_main_thread_is_stopped():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"compiling took more than 0\.1 s"):
        within(0.1, stubborn, "compiling")
    assert time.monotonic() - start < 4


@unix
def test_an_alarm_that_is_lost_rings_again(monkeypatch):
    monkeypatch.setattr(limit, "AGAIN", 0.1)

    def deaf():
        try:
            time.sleep(5)
        except BaseException:  # noqa: BLE001
            time.sleep(5)

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, deaf, "compiling")
    assert time.monotonic() - start < 4


@unix
@pytest.mark.parametrize("work", [int, stubborn])
def test_somebody_elses_alarm_goes_on(work):
    """pytest-timeout's, for one."""
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    before = signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        try:
            within(0.05, work, "working")
        except TimeoutError:
            assert work is stubborn
        assert not rung
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left <= 0.4
        time.sleep(left + 0.1)
        assert rung == [True]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_elsewhere_the_error_comes_afterwards():
    told = []

    def run():
        for seconds in (5, 0.01):
            try:
                told.append(within(seconds, lambda: time.sleep(0.05), "compiling"))
            except TimeoutError as error:
                told.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert told == [None, "compiling took more than 0.01 s"]
