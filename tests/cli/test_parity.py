from __future__ import annotations

import sys

import pytest
import torch

from r2n_kernels.cli import main
from r2n_kernels.proof import parity
from r2n_kernels.proof.parity import ParityRow
from r2n_kernels.proof.tolerance import Verdict

SMALL = ["--model", "res2net50_26w_4s", "--size", "32x48", "--batch", "1"]
OUTPUTS = [f"feature {i}" for i in range(5)] + ["embedding", "logits"]


def test_against_the_reference(capsys):
    assert main(["parity", *SMALL, "--against", "reference"]) == 0
    out, err = capsys.readouterr()
    title, header, *rows, verdict = out.splitlines()
    assert title == "res2net50_26w_4s against reference: float32, batch 1, 32x48"
    assert header.split()[:5] == ["output", "vs", "reference", "vs", "float64"]
    assert [row[:10].strip() for row in rows] == OUTPUTS
    assert all(row.endswith("   ok") for row in rows)
    assert verdict == "parity: PASS (limit: twice the error of eager reference, at least 1e-05)"
    assert max(map(len, out.splitlines())) <= 80
    assert err.startswith("backend 'openvino': ")
    assert err.count("\n") == 1  # made-up weights have no origin to tell


def test_against_timm_with_a_tag_and_another_dtype(capsys):
    pytest.importorskip("timm")
    arguments = ["--model", "res2net50_26w_4s.in1k", *SMALL[2:], "--dtype", "bfloat16"]
    assert main(["parity", *arguments, "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("res2net50_26w_4s against timm: bfloat16, batch 1, 32x48\n")
    assert "vs float32" in out


@pytest.mark.parametrize("error", [1.0, float("nan")])
def test_no_parity(capsys, monkeypatch, error):
    def check(eager, x, dtype, **options):
        right = ParityRow(Verdict("feature 0", 1e-7, 1e-7, 1e-5, dtype), 1e-7)
        wrong = ParityRow(Verdict("logits", error, 1e-7, 1e-5, dtype), error)
        return [right, wrong]

    monkeypatch.setattr(parity, "eager_model", lambda *_: torch.nn.Identity())
    monkeypatch.setattr(parity, "check_parity", check)
    assert main(["parity"]) == 1
    *_, right, wrong, verdict = capsys.readouterr().out.splitlines()
    assert right.endswith("ok")
    assert wrong.endswith("FAIL")
    assert verdict.startswith("parity: FAIL")


def test_without_timm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert main(["parity", *SMALL]) == 2
    assert "r2n: error: parity against timm needs timm: pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--size", "16"], "argument --size: must be at least 32x32"),
        (["--size", "abc"], "argument --size: expected PX or HxW"),
        (["--batch", "0"], "argument --batch: expected a whole number of at least 1"),
        (["--seed", "-1"], "argument --seed: expected a whole number from 0, got '-1'"),
        (["--seed", "9" * 30], "argument --seed: expected a whole number from 0"),
        (["--against", "torch"], "argument --against: invalid choice: 'torch'"),
        (["--dtype", "int8"], "argument --dtype: invalid choice"),
        (["--backend", "tpu"], "argument --backend: invalid choice"),
        (["--dtype", "float16"], "r2n: error: --dtype float16 needs a GPU"),
        (["--device", "toaster"], "r2n: error: --device: expected cpu, cuda or cuda:N"),
        (["--model", "res2net51"], "r2n: error: unknown model 'res2net51'; nearest: res2n"),
        (["--model", "res2net50d.in21k"], "r2n: error: unknown tag 'in21k'"),
    ],
    ids=" ".join,
)
def test_wrong_arguments(capsys, arguments, reason):
    assert main(["parity", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
