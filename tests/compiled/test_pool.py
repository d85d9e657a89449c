from __future__ import annotations

import os
import signal
import time

import pytest

from r2n_kernels.compiled.pool import Pool, _ending
from r2n_kernels.errors import KernelError


def one(pool, function, argument):
    ((given, answer),) = pool.map(function, [argument])
    assert given == argument
    return answer


def test_answers(pool):
    assert dict(pool.map(abs, [-1, -2, 3])) == {-1: 1, -2: 2, 3: 3}


def test_nothing_to_do(pool):
    assert list(pool.map(abs, [])) == []


def test_kernels_are_not_interpreted_there(pool, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert one(pool, os.getenv, "TRITON_INTERPRET") is None
    assert one(pool, os.getenv, "TRITON_CACHE_DIR").startswith(pool._folder.name)


def test_output_of_a_compiler_does_not_mix_with_answers(pool):
    assert one(pool, print, "noise") is None
    assert one(pool, os.system, "echo noise") == 0


def test_exception_is_an_answer(pool):
    error = one(pool, int, "x")
    assert isinstance(error, KernelError)
    assert "ValueError: invalid literal for int() with base 10: 'x'" in str(error)


def test_what_a_compiler_printed_is_in_the_error(pool):
    assert one(pool, os.system, "echo 'loc: error: too old' >&2") == 0
    assert "too old" not in str(one(pool, int, "x"))  # it belonged to another question
    error = one(pool, exec, "import os; os.system('echo error: no such op >&2'); 1 / 0")
    assert "ZeroDivisionError: division by zero\nerror: no such op" in str(error)


def test_crash_is_an_answer_and_the_worker_is_replaced(pool):
    assert "crashed (SIGKILL)" in str(one(pool, signal.raise_signal, signal.SIGKILL))
    assert one(pool, abs, -1) == 1


def test_endings():
    assert (_ending(3), _ending(-11)) == ("exit code 3", "SIGSEGV")


def test_leaving_ends_work_at_once():
    def stopped():
        with Pool(1) as pool:
            for _ in pool.map(time.sleep, [0, 60, 60]):
                starts.append(time.monotonic())
                folders.append(pool._folder.name)
                raise KeyboardInterrupt

    starts, folders = [], []
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert time.monotonic() - starts[0] < 5
    assert not os.path.exists(folders[0])
