from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.gpu import install

ROOT = Path(__file__).resolve().parents[3]
FIND = "import r2n_kernels.benchmarks.gpu, r2n_kernels.kernels.layout as l; print(l.__file__)"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Another one, that is not installed."""
    for name in ("r2n_kernels", "kernels", "reference", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(ROOT / name, tmp_path / "checkout" / name, ignore=ignored, symlinks=True)
    return tmp_path / "checkout"


@pytest.fixture
def pip(monkeypatch):
    """What would be run; pip fails, as without a network or setuptools."""
    asked, run = [], subprocess.run

    def fake(command, **options):
        if "pip" in command:
            asked.append(command)
            return subprocess.CompletedProcess(command, 1)
        return run(command, **options)

    monkeypatch.setattr(install.subprocess, "run", fake)
    return asked


def test_here_it_is_installed_already(capsys, tmp_path, pip, monkeypatch):
    monkeypatch.setattr(install, "TRY", "pass")
    assert install.main([str(ROOT), str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out.startswith("installed from this checkout already: ")
    assert not pip
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("words", [[], ["--links"]])
def test_links(words, checkout, tmp_path, pip, capfd, monkeypatch):
    """Where pip fails, or where it is not asked: the package works from them."""
    site = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(install, "TRY", f"{install.TRY}; {FIND}")
    assert install.main([str(checkout), str(site), *words]) == 0
    if pip:
        assert pip[0][-2:] == ["-e", str(checkout)]
        assert {"--no-index", "--no-deps", "--no-build-isolation"} < set(pip[0])
    found, *_, said = capfd.readouterr().out.splitlines()
    assert ("because pip ended with 1" in said) == bool(pip) == (not words)
    assert Path(found).resolve() == checkout / "kernels" / "layout.py"


def test_a_package_that_cannot_be_imported(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(install, "TRY", "import nothing_of_the_kind")
    assert install.main([str(ROOT), str(tmp_path)]) == 1
    assert capsys.readouterr().out == ""
