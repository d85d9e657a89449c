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
     ("slow or weekly", ["quick", "slow", "weekly"]), ("", ["quick", "slow", "weekly"])],
)  # fmt: skip
def test_slow_tests_run_where_they_are_named(expression, left, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    items = [
        SimpleNamespace(name=name, get_closest_marker=lambda mark, name=name: mark == name)
        for name in ("quick", "slow", "weekly")
    ]
    told = []
    config = SimpleNamespace(
        option=SimpleNamespace(markexpr=expression),
        hook=SimpleNamespace(pytest_deselected=lambda items: told.extend(i.name for i in items)),
    )
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.name for item in items] == left
    assert sorted(left + told) == ["quick", "slow", "weekly"]


def test_what_shares_a_fixture_is_one_group(item_with, pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(TESTS / "conftest.py"))
    assert conftest.shared_by(item_with("pool", "session")) == "pool"
    assert conftest.shared_by(item_with("wheel", "module")) == "tests/test_a.py"
    assert conftest.shared_by(item_with("tmp_path", "function")) == ""


@pytest.fixture
def item_with():
    """item(fixture, scope): as much of a test as grouping looks at."""

    def item(fixture: str, scope: str) -> SimpleNamespace:
        known = SimpleNamespace(name2fixturedefs={fixture: [SimpleNamespace(scope=scope)]})
        return SimpleNamespace(nodeid="tests/test_a.py::test_b", _fixtureinfo=known)

    return item


def test_gpu_alone_does_not_tune():
    tuning = TESTS / "cli" / "test_tune.py"
    command = (sys.executable, "-m", "pytest", tuning, "--collect-only", "-q", "-m", "gpu")
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
