from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch

from r2n_kernels.cli import main
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.proof import networks, selftest
from r2n_kernels.proof.networks import ForwardPass, Setup

GPU = not interpreted()
TINY = Res2NetConfig((2, 1), planes=(9, 14), scale=2, num_classes=3, avg_down=True)


@pytest.fixture
def tiny(monkeypatch):
    """`r2n selftest` at a size of seconds."""
    device = torch.device("cuda", 0) if GPU else torch.device("cpu")
    forwards = (ForwardPass(TINY, 1, "throughput"), networks.POOLED)

    def setup(chosen, *, quick):
        return Setup(device, "tiny", TINY, 32, 1, forwards, (torch.float16,), 2)

    monkeypatch.setattr(selftest, "default_setup", setup)


def test_a_report_to_paste_and_one_to_read_by_machine(tiny, capsys, tmp_path):
    path = tmp_path / "report.json"
    assert main(["selftest", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "r2n selftest"
    assert [line.split()[0] for line in lines[1:4]] == ["r2n_kernels", "torch", "triton"]
    assert "tested       tiny, 32 px, batch 1, 2 repeats" in lines
    assert lines[-1].startswith("selftest: PASS (18 checks, 0 failed, ")
    report = json.loads(path.read_text())
    assert report["passed"] is True
    assert report["environment"]["torch"] == torch.__version__
    names = [check["check"].split()[:2] for check in report["checks"]]
    assert names[:2] == [["kernel", "prepare"], ["kernel", "conv"]]
    assert report["checks"][1]["figures"]["error"] <= report["checks"][1]["figures"]["limit"]


def test_a_broken_kernel_is_a_failure(tiny, capsys, monkeypatch, tmp_path):
    linear = all_ops()["linear"]

    def shifted(x, out, w, b, *, tile):
        return linear.launcher(x, w, b + 1.0, out, tile=tile)

    monkeypatch.setitem(all_ops(), "linear", dataclasses.replace(linear, launcher=shifted))
    path = tmp_path / "report.json"
    assert main(["selftest", "--json", str(path)]) == 1
    out = capsys.readouterr().out
    failed = [line.split()[:3] for line in out.splitlines() if line.endswith("FAIL")]
    assert failed == [["kernel", "linear", "float16"], ["network", "=", "reference"]]
    assert "selftest: FAIL (18 checks, 2 failed, " in out
    assert json.loads(path.read_text())["passed"] is False


@pytest.mark.skipif(GPU, reason="asks for what a machine without a GPU says")
def test_without_a_gpu(capsys, monkeypatch):
    monkeypatch.setattr(networks, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["selftest"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "no GPU here; `TRITON_INTERPRET=1 r2n selftest` runs it small" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--device", "toaster"], "--device: expected cpu, cuda or cuda:N, got 'toaster'"),
        (["--device", "cuda:99"], "--device cuda:99: torch finds"),
        (["--json", "nowhere/report.json"], "--json 'nowhere/report.json': there is no such"),
    ],
)
def test_wrong_arguments(capsys, arguments, reason):
    assert main(["selftest", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


@pytest.mark.weekly  # its checks are those of tests/kernels and tests/proof
def test_all_of_it_in_the_interpreter(spawn):
    process = spawn("selftest", env={"TRITON_INTERPRET": "1"})
    out, err = process.communicate(timeout=500)
    progress = rb"(\d+% \d+/51 \[.*\]\n)*"  # a line a minute
    assert process.returncode == 0
    assert re.fullmatch(progress, err), err
    assert b"selftest: PASS (51 checks, 0 failed, " in out


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not GPU, reason="needs a CUDA GPU")
def test_on_a_gpu(capsys):
    assert main(["selftest", "--quick"]) == 0
    assert "selftest: PASS" in capsys.readouterr().out
