"""A run of two processes ends, whatever ends one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from by_file import ByFile

def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)
"""
GOOD = """
import pytest

@pytest.mark.parametrize("number", range(5))
def test_good(number):
    pass
"""
DEADLY = """
def test_before():
    pass

def test_deadly():
    os.kill(os.getpid(), 9)

def test_behind():
    pass
"""


def test_what_a_crashed_process_left_runs_and_what_ended_it_does_not_run_again(tmp_path):
    pytest.importorskip("xdist")
    files = {"conftest": CONFTEST, "test_a": GOOD, "test_b": GOOD, "test_c": GOOD}
    files |= {f"test_deadly_{i}": "import os" + DEADLY for i in range(3)}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert "3 failed, 21 passed" in done.stdout, done.stdout + done.stderr
    for i in range(3):
        assert done.stdout.count(f"FAILED test_deadly_{i}.py::test_deadly - worker") == 1
