"""The whole script, on a CPU: every section to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from r2n_kernels.benchmarks.gpu.main import ROOT
from r2n_kernels.benchmarks.records import read

LIMIT = 1800  # seconds, on a busy machine; alone it takes two or three minutes


@pytest.mark.slow
@pytest.mark.timeout(LIMIT)
def test_every_section_runs_to_its_end(tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"DRY": "1", "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    env |= {"TRITON_CACHE_DIR": str(tmp_path / "triton")}
    env |= {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    command = ["bash", str(ROOT / "benchmarks" / "gpu" / "run.sh")]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "summary.txt", "records.jsonl", "records.tgz", "logs.tgz",
    }  # fmt: skip
    states = {each["name"]: each["state"] for each in json.loads(member(out, "sections.json"))}
    assert set(states.values()) == {"ok"}, states
    assert len(states) == 16
    assert json.loads(member(out, "candidates.json"))
    records = read(out / "records.jsonl").records
    assert {record.scope for record in records} == {"model", "step"}
    assert sum("torch.compile" in record.subject for record in records) == 1
    summary = (out / "summary.txt").read_text()
    assert done.stdout.endswith(summary)
    assert len(summary.splitlines()) < 60
    assert "damaged" not in summary
    assert f"torch {torch.__version__}" in summary
    for words in ("img/s", "steps, float32 b1: ", "wall ms float32 b1: p50", "conv1: 1 right"):
        assert words in summary


def member(out: Path, name: str) -> bytes:
    with tarfile.open(out / "records.tgz") as archive:
        return archive.extractfile(name).read()
