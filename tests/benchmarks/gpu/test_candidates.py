from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from r2n_kernels.benchmarks.gpu.candidates import make, measure
from r2n_kernels.benchmarks.gpu.candidates.cases import (
    MACS,
    MANIFEST,
    Block,
    Candidate,
    call_of,
    candidates,
    run_twin,
)
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels import versions
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

PACKAGE = "r2n_kernels.benchmarks.gpu.candidates"
CPU, SM90 = torch.device("cpu"), TARGETS["sm_90"]


def run(module: str, *words: str | Path) -> str:
    """In a process of its own that compiles: this one may be interpreting."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", f"{PACKAGE}.{module}", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def item() -> dict:
    (first,) = [c for c in candidates(SM90) if c.name == "conv3 128x128x64 w8 s3"]
    return {"candidate": first.to_json(), "file": 0, "arch": 90, "arguments": ["y_ptr", "out_ptr"]}


def test_every_kind_begins_with_todays_tile():
    found = candidates(SM90)
    assert len(found) == len({candidate.name for candidate in found}) == 24
    plan = build_plan(VARIANTS[HEADLINE], 256, 224, 224, torch.float16, "triton", target=SM90)
    options = {step.name: step.options for step in plan.steps}
    steps = {"conv1": "layer3.1.conv1", "chain": "layer3.1.convs", "conv3": "layer3.1.conv3"}
    for kind, step in steps.items():
        first = next(c for c in found if c.kind == kind)
        assert first.tile == options[step].get("tile")
        assert first.form == options[step].get("form")
    assert sum(c.tile is not None and c.tile.registers == 128 for c in found) == 3
    assert [c.name for c in found if c.form is not None] == [
        f"chain resident, {what} columns"
        for what in ("448 rows, 64+32+8", "256 rows, 64+32+8", "256 rows, 128")
    ]
    assert [c.form for c in candidates(TARGETS["sm_100"]) if c.form is not None] == []


def test_a_candidate_comes_back_from_json():
    for candidate in candidates(SM90):
        assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate


@pytest.mark.parametrize("kind", MACS)
def test_twins_write_all_that_is_compared(kind):
    block = Block.of(1, CPU).to(torch.float32)
    block.reset(kind)
    assert block.written(kind).isnan().any() or kind == "conv1"
    run_twin(kind, block)
    assert block.written(kind).isfinite().all()
    assert block.written(kind).abs().max() > 0.1


def test_shapes_alone_on_the_meta_device():
    block = Block.of(2, torch.device("meta"))
    assert block.planes.dtype == torch.float16
    for candidate in candidates(SM90):
        call = call_of(candidate, block)
        images = candidate.form.ctas(2) if candidate.form else 2
        assert call.grid == (images if candidate.kind == "chain" else call.grid)
        assert all(t.device.type == "meta" for t in call.args.values() if hasattr(t, "device"))


class Twin:
    """Stands in for a compiled kernel."""

    registers = ctas = None

    def __init__(self, folder, item) -> None:
        pass

    def __call__(self, grid, values) -> None:
        y, out = values
        block = Block.of(measure.EMULATED, CPU)
        block.y.copy_(y)
        run_twin("conv3", block)
        out.copy_(block.out)


class Silent(Twin):
    def __call__(self, grid, values) -> None:
        pass


class Faulting(Twin):
    def __call__(self, grid, values) -> None:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS for it")


@pytest.mark.parametrize(
    ("launcher", "failed"),
    [(Twin, None), (Silent, "wrong: error nan"), (Faulting, "RuntimeError: CUDA_ERROR_ILLEGAL")],
)
def test_wrong_candidates_have_no_time(launcher, failed, item, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "InEmulator", launcher)
    bench = measure.Bench(measure.EMULATED, CPU, tmp_path)
    row = bench.measure(item)
    assert (row.get("failed") or "").startswith(failed or "")
    assert ("failed" in row) == bool(failed)
    assert "us" not in row


def test_the_rest_goes_on(item, monkeypatch, tmp_path, capsys):
    other = item | {"candidate": item["candidate"] | {"name": "conv3 again"}}

    class FirstFaults(Twin):
        def __init__(self, folder, item) -> None:
            if item["candidate"]["name"] != "conv3 again":
                raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")

    monkeypatch.setattr(measure, "InEmulator", FirstFaults)
    (tmp_path / MANIFEST).write_text(json.dumps([item, other]))
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["measure", str(tmp_path), str(out), "--emulate"])
    assert measure.main() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("candidates: 1 of 2 right; conv3 128x128x64 w8 s3: RuntimeError: CUDA_")
    found = json.loads(out.read_text())
    assert found[item["candidate"]["name"]]["failed"].endswith("NO_BINARY_FOR_GPU")
    assert 0 < found["conv3 again"]["error"] < 1e-3


def test_an_older_triton_leaves_resident_chains_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(versions.triton, "__version__", "3.6.0")
    monkeypatch.setattr(sys, "argv", ["make", str(tmp_path), "--only", "chain resident"])
    assert make.main() == 1
    assert capsys.readouterr().out.startswith(
        "left out: resident chains: Triton 3.6.0 has no gather of shared memory, 3.8 has it\n"
    )


@pytest.mark.slow
def test_made_for_sm_90_and_emulated(tmp_path):
    """With the arguments that a GPU gets."""
    wanted = ["conv1 128x64x64", "448 rows", "conv3 128x128x64 w8 s3 r128"]
    said = run("make", tmp_path / "made", "--only", *wanted)
    if "left out" in said:
        wanted.remove("448 rows")
    run("measure", tmp_path / "made", tmp_path / "out.json", "--emulate")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == len(wanted)
    for row in rows.values():
        assert 0 < row["error"] < 1e-3, row
    manifest = json.loads((tmp_path / "made" / MANIFEST).read_text())
    assert all((tmp_path / "made" / f"{item['file']}.cubin").stat().st_size for item in manifest)
    assert all(len(item["arguments"]) <= len(item["bits"]) for item in manifest)
