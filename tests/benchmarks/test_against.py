from __future__ import annotations

import os
import subprocess
import sys

import pytest

from r2n_kernels import ConfigError
from r2n_kernels.benchmarks import against
from r2n_kernels.benchmarks.compare import compare
from r2n_kernels.benchmarks.judge import NO_PEER
from r2n_kernels.benchmarks.records import append
from r2n_kernels.measure.checkout import source_tree

FAKE = """
import json, os, sys, pathlib
here = pathlib.Path(__file__).resolve().parents[2]
speed = float((here / "kernels" / "speed.txt").read_text())
if speed == -1:
    sys.exit("the kernels do not compile")
if speed == -2:
    print("a table\\nnot timed: r2n_kernels: wrong outputs")
    sys.exit(1)
record = json.loads(pathlib.Path(os.environ["RECORD"]).read_text())
pathlib.Path(os.environ["LOG"]).open("a").write(f"{speed} {sys.argv[1:-2]} {os.getcwd()}\\n")
git = "git -C " + str(here) + " rev-parse HEAD"
record |= {"samples": [[speed, speed]], "again": [[speed]], "commit": os.popen(git).read().strip(),
           "code": str(speed)}
pathlib.Path(sys.argv[-1]).write_text(json.dumps(record) + "\\n")
"""


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path, monkeypatch, record):
    """A checkout whose `r2n bench` writes the seconds that a file states."""
    root = tmp_path / "checkout"
    for part in ("r2n_kernels/cli", "kernels", "reference", "benchmarks"):
        (root / part).mkdir(parents=True)
        (root / part / "__init__.py").touch()
    (root / "r2n_kernels" / "__init__.py").touch()
    (root / "r2n_kernels" / "cli" / "__main__.py").write_text(FAKE)
    (root / "kernels" / "speed.txt").write_text("0.5")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    monkeypatch.setattr(against, "checkout", lambda: root)
    append(tmp_path / "record.json", record)
    monkeypatch.setenv("RECORD", str(tmp_path / "record.json"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    return root


def test_two_trees_take_turns(tree, tmp_path):
    (tree / "kernels" / "speed.txt").write_text("0.75")  # not committed
    done = []
    base, new = against.time_both("HEAD", ["--quick"], 3, lambda: done.append(1))
    assert [r.samples for r in base] == [((0.5, 0.5),)] * 3
    assert [r.samples for r in new] == [((0.75, 0.75),)] * 3
    assert len(done) == 6
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0.5", "0.75", "0.75", "0.5", "0.5", "0.75"]
    assert all("['bench', '--quick']" in line for line in lines)
    assert git(tree, "worktree", "list").count("\n") == 0  # the second one is gone


def test_a_planted_slow_down_is_a_regression(tree):
    """And none when it is gone again: one code on both sides."""
    planted = tree / "kernels" / "speed.txt"
    for speed, verdict in (("0.55", "regression"), ("0.5", "A/A"), ("0.45", "improvement")):
        planted.write_text(speed)
        both = against.time_both("HEAD", [], 5)
        (found,), unmatched = compare(*both, relative_to=NO_PEER, in_turns=True)
        assert (found.verdict, found.runs, unmatched) == (verdict, (5, 5), [])


def test_an_unknown_revision(tree):
    with pytest.raises(ConfigError, match=r"git rev-parse .*none"):
        against.time_both("none", [], 1)
    with pytest.raises(ConfigError, match="git rev-parse"):
        against.time_both("--help", [], 1)


def test_a_run_that_fails_says_whose_it_was(tree):
    (tree / "kernels" / "speed.txt").write_text("-1")
    with pytest.raises(ConfigError, match="of the work tree ended with 1:\nthe kernels do not"):
        against.time_both("HEAD", [], 1)
    assert git(tree, "worktree", "list").count("\n") == 0


def test_wrong_outputs_are_the_work_trees_or_not(tree):
    speed = tree / "kernels" / "speed.txt"
    speed.write_text("-2")
    with pytest.raises(against.WrongOutputs, match="work tree ended with 1:\nnot timed: r2n_k"):
        against.time_both("HEAD", [], 1)
    git(tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "wrong")
    speed.write_text("0.5")
    with pytest.raises(ConfigError, match="of 'HEAD' ended with 1:\nnot timed: r2n_kernels"):
        against.time_both("HEAD", [], 1)


def test_outside_of_a_checkout(monkeypatch):
    monkeypatch.setattr(against, "checkout", lambda: None)
    with pytest.raises(ConfigError, match="needs r2n_kernels to run from a checkout of git"):
        against.time_both("HEAD", [], 1)


def test_the_real_package_runs_from_a_laid_out_tree(tmp_path):
    """All of it is found there, and nothing in the place where it is installed."""
    root = source_tree()
    if root is None:
        pytest.skip("the package is installed as a copy")
    against.lay_out(root, tmp_path / "site")
    code = (
        "import r2n_kernels, r2n_kernels.kernels, r2n_kernels.reference, r2n_kernels.benchmarks\n"
        "for m in (r2n_kernels, r2n_kernels.kernels, r2n_kernels.benchmarks): print(m.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, check=True,
    )  # fmt: skip
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
