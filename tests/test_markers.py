"""What an expression of marks selects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    ("expression", "left"),
    [("gpu", ["quick"]), ("not gpu", ["quick"]), ("slowly", ["quick"]),
     ("gpu and slow", ["quick", "slow"]), ("not slow", ["quick", "slow"]),  # pytest's own work
     ("slow or not slow", ["quick", "slow"]), ("weekly", ["quick", "weekly"]),
     ("slow or weekly", ["quick", "slow", "weekly"]), ("", ["quick", "slow", "weekly"]),
     ("slow", ["quick", "slow"])],
)  # fmt: skip
@pytest.mark.parametrize("also", [(), ("slow",)], ids=["alone", "in a slow file"])
def test_slow_tests_run_where_they_are_named(expression, left, also, pytestconfig):
    """What is weekly in a slow file is weekly."""
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    marks = {"quick": (), "slow": ("slow",), "weekly": ("weekly", *also)}
    items = [
        SimpleNamespace(name=name, get_closest_marker=lambda mark, its=its: mark in its)
        for name, its in marks.items()
    ]
    told = []
    config = SimpleNamespace(
        option=SimpleNamespace(markexpr=expression),
        hook=SimpleNamespace(pytest_deselected=lambda items: told.extend(i.name for i in items)),
    )
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.name for item in items] == left
    assert sorted(left + told) == ["quick", "slow", "weekly"]


def test_a_file_is_a_group_and_so_is_the_headline(pytestconfig):
    """Its files would each compile it in their process."""
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    given = {"dist": "loadfile", "tx": ["2*popen"]}
    scheduler = conftest.pytest_xdist_make_scheduler(SimpleNamespace(getvalue=given.get), None)
    names = ("headline.py::test", "headline_runs.py::test", "gate.py::Of::test")
    groups = [scheduler._split_scope(f"tests/compiled/test_{name}") for name in names]
    shared = "tests/compiled/test_headline"
    assert groups == [shared, shared, "tests/compiled/test_gate.py"]
    for folder, names in conftest.SHARING.items():
        files = [f"tests/{folder}/test_{name}.py" for name in names]
        assert all((TESTS.parent / file).is_file() for file in files)
        together = {scheduler._split_scope(f"{file}::Of::test") for file in files}
        assert together == {f"tests/{folder}"}


def test_the_longest_files_are_handed_out_first(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    assert all(list(TESTS.parent.glob(f"{name}*")) for name in conftest.LONGEST)
    given = {"dist": "loadfile", "tx": ["2*popen"]}
    scheduler = conftest.pytest_xdist_make_scheduler(SimpleNamespace(getvalue=given.get), None)
    node = Mock()
    scheduler.registered_collections[node] = []
    _, second, third, *_ = conftest.LONGEST
    scheduler.workqueue.update({"one": {}, third: {}, "two": {}, second: {}})
    while scheduler.workqueue:
        scheduler._assign_work_unit(node)
    assert list(scheduler.assigned_work[node]) == [second, third, "one", "two"]


@pytest.mark.parametrize("dist", ["no", "load"])
def test_other_ways_to_distribute_are_xdists(dist, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    config = SimpleNamespace(getvalue=lambda name: dist)
    assert conftest.pytest_xdist_make_scheduler(config, None) is None


def test_gpu_alone_does_not_tune():
    tuning = TESTS / "cli" / "test_tune.py"
    command = (sys.executable, "-m", "pytest", tuning, "--collect-only", "-q", "-m", "gpu")
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
