"""`import r2n_kernels` is quick and leaves no trace: no network, device, file or setting."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import r2n_kernels

ROOT = Path(__file__).resolve().parents[1]
PROBE = Path(__file__).with_name("import_probe.py")
LIMIT_S = 0.3  # of the CPU: what all public names of r2n_kernels may add to `import torch`
TRIES = 6  # the best counts: others may use the machine, and its first reads files from the disk

TIMED = """
import time, torch
start = time.process_time()
from r2n_kernels import *
print(time.process_time() - start)
"""


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def probe(tmp_path_factory) -> dict:
    """What one import changed; without writing bytecode, which any import of Python's may do."""
    done = python("-B", "-c", PROBE.read_text(), cwd=tmp_path_factory.mktemp("empty"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_import_is_quick(tmp_path):
    seconds = []
    while len(seconds) < TRIES:
        seconds.append(float(python("-c", TIMED, cwd=tmp_path).stdout))
        if seconds[-1] < LIMIT_S:
            return
    pytest.fail(
        f"from r2n_kernels import * takes {min(seconds):.3f} s on top of torch; {LIMIT_S} allowed"
    )


def test_the_package_alone_loads_no_torch(tmp_path):
    code = "import sys, r2n_kernels; dir(r2n_kernels); print('torch' in sys.modules)"
    assert python("-c", code, cwd=tmp_path).stdout == "False\n"


def test_public_names_are_those_of_their_modules():
    from r2n_kernels import create, data, engine, model, tile_table

    assert r2n_kernels.create_model is create.create_model
    assert r2n_kernels.TritonOptions is engine.TritonOptions
    assert r2n_kernels.Res2NetModel is model.Res2NetModel
    assert r2n_kernels.load_tiles is tile_table.load_tiles
    assert r2n_kernels.data is data
    assert set(r2n_kernels.__all__) <= set(dir(r2n_kernels))
    for name in r2n_kernels.__all__:
        assert getattr(r2n_kernels, name) is not None
    with pytest.raises(
        AttributeError, match="module 'r2n_kernels' has no attribute 'create_modle'"
    ):
        r2n_kernels.create_modle  # noqa: B018


def test_import_does_nothing_outside_the_process(probe):
    assert probe["events"] == []
    assert probe["files"] == []


def test_import_loads_no_driver_and_opens_no_device(probe):
    # extension modules of safetensors, numpy and Pillow may come; nothing of a GPU's
    marks = ("cuda", "nvidia", "cudnn", "cublas", "nvrtc", "nccl", "hip", "rocm", "triton")
    assert [name for name in probe["mapped"] if any(mark in name.lower() for mark in marks)] == []
    assert probe["opened"] == []


def test_import_changes_no_global_state(probe):
    assert probe["changed"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "huggingface_hub",
        "requests",
        "httpx",
        "timm",
        "torchvision",
        "sklearn",
        "scipy",
        "triton",
        "torch._inductor",
        "torch._dynamo",
        "PIL.ImageCms",
        "PIL.ImageTk",
        "r2n_kernels.kernels.device",
        "r2n_kernels.kernels.ops",
        "r2n_kernels.engine.triton_backend",
        "r2n_kernels.block",
        "r2n_kernels.benchmarks",
        "r2n_kernels.cli",
    ],
)
def test_import_does_not_load(name, probe):
    loaded = [m for m in probe["modules"] if m == name or m.startswith(f"{name}.")]
    assert loaded == []


@pytest.mark.parametrize("part", ["kernels", "reference", "benchmarks"])
def test_bare_name_is_refused(part):
    done = python("-B", "-c", f"import {part}", cwd=ROOT)
    assert done.returncode == 1
    assert f"ImportError: import r2n_kernels.{part}: a second copy would load" in done.stderr


@pytest.mark.slow
def test_runs_without_asserts_and_docstrings(tmp_path):
    code = "import sys; from r2n_kernels.cli import main; sys.exit(main(['models', '--json']))"
    done = python("-OO", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 9


def test_import_gives_no_warning(tmp_path):
    # torch is imported before warnings become errors: what it warns of on a new Python is its own
    code = "import torch, warnings; warnings.simplefilter('error'); from r2n_kernels import *"
    done = python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
