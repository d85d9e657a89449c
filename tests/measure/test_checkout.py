"""Where the package is imported from: its source tree, or an installed copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from r2n_kernels.measure import checkout as module
from r2n_kernels.measure.checkout import (
    branch,
    checkout,
    code_hash,
    commit,
    git,
    kernels_hash,
    pull_request,
    source_tree,
)

ROOT = Path(__file__).resolve().parents[2]
ASK = "from r2n_kernels.measure import checkout as c; print(c.source_tree(), c.checkout())"


@pytest.fixture
def tree(tmp_path) -> Path:
    """Sources with the least of the package in them, laid out as the repository's."""
    root = tmp_path / "tree"
    package, measure = root / "r2n_kernels", root / "r2n_kernels" / "measure"
    measure.mkdir(parents=True)
    (root / "kernels").mkdir()
    (package / "kernels").symlink_to(Path("..", "kernels"))
    for folder in (root / "kernels", package, measure):
        (folder / "__init__.py").touch()
    shutil.copy(ROOT / "r2n_kernels" / "measure" / "checkout.py", measure)
    return root


def told(folder: Path) -> str:
    command = [sys.executable, "-c", ASK]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_this_one():
    assert source_tree() == ROOT
    assert checkout() == (ROOT if (ROOT / ".git").exists() else None)


def test_an_unpacked_archive_is_no_work_tree_of_its_own(tree):
    (tree.parent / ".git").mkdir()
    assert told(tree) == f"{tree} None\n"
    (tree / ".git").touch()  # a file in a linked work tree
    assert told(tree) == f"{tree} {tree}\n"


def test_linked_from_elsewhere(tree, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "r2n_kernels").symlink_to(tree / "r2n_kernels")
    assert told(site) == f"{tree} None\n"


def test_an_installed_copy_has_none(tree, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(tree / "r2n_kernels", site / "r2n_kernels")  # links become folders
    (site / ".git").mkdir()
    assert told(site) == "None None\n"


def test_the_commit(tmp_path, monkeypatch):
    found, dirty = commit()
    assert found is None or (len(found) == 40 and isinstance(dirty, bool))
    monkeypatch.setattr(module, "checkout", lambda: None)
    assert commit() == (None, False)
    monkeypatch.setattr(module, "checkout", lambda: tmp_path)
    git(tmp_path, "init", "-q")
    assert commit() == (None, False)  # there is none yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    assert commit() == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "a").write_text("2")
    assert commit()[1]


def test_the_kernels_hash(monkeypatch, tmp_path):
    assert len(kernels_hash()) == 16
    (tmp_path / "gemm.py").write_text("1")
    monkeypatch.setattr(module.kernels, "__file__", str(tmp_path / "__init__.py"))
    before = kernels_hash()
    (tmp_path / "gemm.py").write_text("2")
    assert kernels_hash() != before


def test_the_hash_of_all_code(tree):
    """Wherever the package is laid out: through links, and with a room that is one."""
    ask = "from r2n_kernels.measure import checkout as c; print(c.code_hash())"

    def told() -> str:
        return subprocess.check_output([sys.executable, "-c", ask], cwd=tree, text=True)

    before = told()
    (tree / "kernels" / "gemm.py").write_text("1")
    assert told() != before
    assert len(code_hash()) == 16


@pytest.mark.parametrize(
    ("said", "of"),
    [
        ({}, ("topic", None)),
        ({"GITHUB_HEAD_REF": "a", "GITHUB_REF_NAME": "7/merge", "GITHUB_REF": "refs/pull/7/merge"},
         ("a", 7)),
        ({"GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main"}, ("main", None)),
        ({"CI_COMMIT_REF_NAME": "b", "CI_MERGE_REQUEST_IID": "12"}, ("b", 12)),
        ({"GITHUB_REF": f"refs/pull/{'9' * 400}/merge"}, ("topic", None)),
    ],
)  # fmt: skip
def test_branch_and_pull_request(said, of, tmp_path, monkeypatch):
    for name in ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "GITHUB_REF", "CI_COMMIT_REF_NAME",
                 "CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    git(tmp_path, "init", "-q", "-b", "topic")
    monkeypatch.setattr(module, "checkout", lambda: tmp_path)
    assert (branch(), pull_request()) == of
    monkeypatch.setattr(module, "checkout", lambda: None)
    assert (branch(), pull_request()) == (None, None)
