"""How files are handed to two processes; and that a run ends, whatever ends one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

pytest.importorskip("xdist")

from .by_file import LONGEST, SHARING, ByFile

TESTS = Path(__file__).parent
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


@pytest.fixture
def scheduler() -> ByFile:
    given = {"dist": "loadfile", "tx": ["2*popen"]}
    return ByFile(SimpleNamespace(getvalue=given.get), None)


def test_a_file_is_a_group_and_so_is_the_headline(scheduler):
    """Its files would each compile it in their process."""
    names = ("headline.py::test", "headline_runs.py::test", "gate.py::Of::test")
    groups = [scheduler._split_scope(f"tests/compiled/test_{name}") for name in names]
    shared = "tests/compiled/test_headline"
    assert groups == [shared, shared, "tests/compiled/test_gate.py"]
    for folder, names in SHARING.items():
        files = [f"tests/{folder}/test_{name}.py" for name in names]
        assert all((TESTS.parent / file).is_file() for file in files)
        together = {scheduler._split_scope(f"{file}::Of::test") for file in files}
        assert together == {f"tests/{folder}"}


def test_the_longest_files_are_handed_out_first(scheduler):
    assert all(list(TESTS.parent.glob(f"{name}*")) for name in LONGEST)
    node = Mock()
    scheduler.registered_collections[node] = []
    _, second, third, *_ = LONGEST
    scheduler.workqueue.update({"one": {}, third: {}, "two": {}, second: {}})
    while scheduler.workqueue:
        scheduler._assign_work_unit(node)
    assert list(scheduler.assigned_work[node]) == [second, third, "one", "two"]


@pytest.mark.parametrize(("files", "given", "last"), [("abc", "ab", False), ("a", "a", True)])
def test_a_process_gets_two_tests_or_hears_that_none_comes(files, given, last, scheduler):
    """It would not begin a single one."""
    node = Mock(shutting_down=False)
    node.shutdown.side_effect = lambda: setattr(node, "shutting_down", True)
    scheduler.registered_collections[node] = [*files]
    scheduler.assigned_work[node] = {}
    scheduler.workqueue.update({name: {name: False} for name in files})
    scheduler._reschedule(node)
    assert [*scheduler.assigned_work[node]] == [*given]
    assert node.shutting_down == last


@pytest.mark.slow
def test_what_a_crashed_process_left_runs_and_what_ended_it_does_not_run_again(tmp_path):
    files = {"conftest": CONFTEST, "test_a": GOOD, "test_b": GOOD, "test_c": GOOD}
    files |= {f"test_deadly_{i}": "import os" + DEADLY for i in range(3)}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    assert "3 failed, 21 passed" in done.stdout, done.stdout + done.stderr
    for i in range(3):
        assert done.stdout.count(f"FAILED test_deadly_{i}.py::test_deadly - worker") == 1
