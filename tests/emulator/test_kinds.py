"""Kinds of kernels and constructs of Triton are right, by architecture, as the README says.

They run in a process of their own: kernels are interpreted in this one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import compiling
from .kinds.__main__ import main

ROOT = Path(__file__).parents[2]
README = ROOT / "r2n_kernels/emulator/README.md"
HANDFUL = ("softmax, online", "matmul fp16", "Welford", "tl.erf", "fewer values")


def run(module: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"tests.emulator.{module}", *arguments], cwd=ROOT, text=True,
        env=compiling(), capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def registered() -> dict[str, Any]:
    """Cases with their group and architectures, and the names of bugs."""
    return json.loads(run("bugs", "--list").stdout)


@pytest.fixture(scope="module")
def cases(registered) -> dict[str, list]:
    return registered["cases"]


def table(name: str) -> list[list[str]]:
    """The rows of a table of the README, without heads."""
    text = README.read_text(encoding="utf-8")
    (part,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", text, re.DOTALL)
    rows = [line[2:-2].split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] not in ("kind of kernel", "construct", "bug")]


def test_there_are_enough(cases):
    groups = [group for group, *_ in cases.values()]
    assert groups.count("kind") >= 40
    assert groups.count("construct") >= 60


def test_the_readme_has_every_case(cases):
    rows = {name: cells for name, *cells in table("kinds")}
    assert list(rows) == [n for g in ("kind", "construct") for n, c in cases.items() if c[0] == g]
    for name, cells in rows.items():
        there = [arch for arch, text in zip((80, 90, 100, 120), cells, strict=True) if text != "–"]
        assert there == cases[name][1:], name
        assert all(re.match("right|refused: |–", text) for text in cells), name
    every = [text for cells in rows.values() for text in cells if text != "–"]
    assert every.count("right") >= 0.95 * len(every)


@pytest.mark.slow
def test_a_handful():
    done = run("kinds", "--archs", "80", "--cases", *HANDFUL)
    assert done.returncode == 0, done.stdout + done.stderr


def not_right(text: str) -> list[str]:
    """The runs that are not right; kernels print lines of their own."""
    return [line for line in text.splitlines() if " | sm_" in line and "| right |" not in line]


@pytest.mark.slow
def test_each_once_on_architectures_in_turns():
    done = run("kinds", "--rotate")
    assert not_right(done.stdout) == []
    assert done.returncode == 0, done.stderr


@pytest.mark.weekly
def test_each_on_every_architecture():
    done = run("kinds")
    assert not_right(done.stdout) == []
    assert done.returncode == 0, done.stderr


def test_the_table_is_written_of_all_cases(capsys):
    with pytest.raises(SystemExit):
        main(["--cases", "softmax", "--write"])
    assert "--write needs all cases on all architectures" in capsys.readouterr().err


class TestDeliberateBugs:
    def test_the_readme_has_every_one(self, registered):
        names = registered["bugs"]
        assert len(names) >= 20
        assert [name for name, *_ in table("bugs")] == names

    def test_some_are_found(self):
        done = run("bugs", "--cases", "missing-mask", "missing-barrier")
        assert done.stdout.endswith("2 bugs, 0 surprises\n"), done.stdout + done.stderr

    @pytest.mark.slow
    def test_all_are_found(self):
        done = run("bugs")
        assert " bugs, 0 surprises" in done.stdout, done.stdout + done.stderr
