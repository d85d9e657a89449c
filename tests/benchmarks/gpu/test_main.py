from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from r2n_kernels.benchmarks.gpu import main as gpu_main
from r2n_kernels.benchmarks.gpu.main import environment, main

FOLDER = Path(gpu_main.__file__).parent
ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import gpu.main
print([name for name in ("torch", "numpy", "r2n_kernels", "timm") if name in sys.modules])
"""


@pytest.fixture
def sections(section, monkeypatch):
    """Made-up ones; a dry place is told from another by the last."""
    listed = [section("install", "print('links')", setup=True), section("bench", "print('fast')"),
              section("steps", "raise ValueError('slow')")]  # fmt: skip

    def made_up(place):
        return tuple(listed[: 2 if place.dry else 3])

    monkeypatch.setattr(gpu_main, "sections", made_up)
    return listed


def run(tmp_path, **settings) -> int:
    return main({"PATH": os.environ["PATH"], "OUT": str(tmp_path / "out"), **settings})


def test_a_run(sections, tmp_path, capsys):
    assert run(tmp_path) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"results: {tmp_path / 'out'}; 470 s at most\n")
    assert out.endswith("steps: FAILED: ValueError: slow\n")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"summary.txt", "records.tgz", "logs.tgz"}
    assert (tmp_path / "out" / "summary.txt").read_text() == out[out.index("=====") :]
    with tarfile.open(tmp_path / "out" / "records.tgz") as archive:
        found = json.load(archive.extractfile("sections.json"))
    assert [outcome["state"] for outcome in found] == ["ok", "ok", "failed"]


def test_two_runs_into_one_folder(sections, tmp_path, capsys):
    assert run(tmp_path, DRY="1") == 0
    assert run(tmp_path, ONLY="steps", DEADLINE="60") == 1
    assert "bench" in (tmp_path / "out" / "summary.txt").read_text()
    second = (tmp_path / "out" / "run-2" / "summary.txt").read_text()
    assert "bench" not in second
    assert "run-2; 60 s at most\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"DEADLINE": "soon"}, "DEADLINE must be seconds above 0, got 'soon'"),
        ({"DEADLINE": "0"}, "DEADLINE must be seconds above 0, got '0'"),
        ({"DEADLINE": "nan"}, "DEADLINE must be seconds above 0, got 'nan'"),
        ({"ONLY": "("}, "ONLY is no regular expression"),
        ({"ONLY": "benhc"}, "ONLY='benhc' matches none of: bench steps"),
        ({"OUT": "/dev/null/out"}, "cannot write: "),
    ],
)
def test_wrong_settings(settings, told, sections, tmp_path, capsys):
    assert run(tmp_path, **settings) == 2
    captured = capsys.readouterr()
    assert f"gpu: error: {told}" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_summary(
    number, sections, section, tmp_path, capsys, signal_when_there
):
    before = signal.getsignal(number)
    sections[1] = section("bench", "import time; print('begun', flush=True); time.sleep(60)")
    signal_when_there(tmp_path / "out" / "logs" / "bench.log", number)
    assert run(tmp_path) == 128 + number
    out = capsys.readouterr().out
    assert out.endswith(f"skipped: stopped by {number.name}: bench, steps\n")
    assert (tmp_path / "out" / "logs.tgz").exists()
    assert signal.getsignal(number) is before


def test_a_full_disk_ends_nothing(sections, tmp_path, capsys, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("r2n_kernels.benchmarks.gpu.folder.write_text", full)
    assert run(tmp_path, DRY="1") == 0
    out = capsys.readouterr().out
    assert out.count("No space left on device; the run goes on without it") == 1
    assert "bench: ok, 0 s: fast" in out


def test_what_sections_run_in(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_main, "CUDA_FOLDERS", (str(tmp_path), "/no/such/folder"))
    found = environment({"PATH": "/bin", "PYTHONPATH": "/mine", "TRITON_CACHE_DIR": "/c"}, tmp_path)
    assert found["PATH"] == f"/bin:{tmp_path}"
    assert found["PYTHONPATH"] == f"{tmp_path / 'site'}:/mine"
    assert found["TRITON_CACHE_DIR"] == "/c"
    assert found["HF_HUB_OFFLINE"] == "1"


def test_it_needs_nothing_but_python():
    command = [sys.executable, "-c", ALONE, str(FOLDER.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_run_sh(tmp_path):
    script = FOLDER / "run.sh"
    env = {**os.environ, "DEADLINE": "soon", "PYTHON": sys.executable}
    done = subprocess.run(["bash", str(script)], env=env, cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu: error: DEADLINE must be seconds above 0, got 'soon'\n"


def test_run_sh_without_python(tmp_path):
    (tmp_path / "dirname").symlink_to(shutil.which("dirname"))
    command = [shutil.which("bash"), str(FOLDER / "run.sh")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 2
    assert "there is no python3 on the path" in done.stderr
