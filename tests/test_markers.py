"""What an expression of marks selects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
