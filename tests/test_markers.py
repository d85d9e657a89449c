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
     ("", ["quick", "slow"])],
)  # fmt: skip
def test_slow_tests_run_where_they_are_named(expression, left, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    items = [
        SimpleNamespace(name=name, get_closest_marker=lambda mark, name=name: mark == name)
        for name in ("quick", "slow")
    ]
    told = []
    config = SimpleNamespace(
        option=SimpleNamespace(markexpr=expression),
        hook=SimpleNamespace(pytest_deselected=lambda items: told.extend(i.name for i in items)),
    )
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.name for item in items] == left
    assert left + told == ["quick", "slow"]


def test_gpu_alone_does_not_tune():
    tuning = TESTS / "cli" / "test_tune.py"
    command = (sys.executable, "-m", "pytest", tuning, "--collect-only", "-q", "-m", "gpu")
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
