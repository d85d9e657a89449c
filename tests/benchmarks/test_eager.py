from __future__ import annotations

import pytest
import torch

from r2n_kernels import UnknownModelError, from_timm
from r2n_kernels.benchmarks import eager
from r2n_kernels.benchmarks.machine import describe_machine
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.reference import Res2Net

SMALL = Res2NetConfig(layers=(1, 1), planes=(8, 12), num_classes=3)


def test_comparison_reports_rates_from_the_plan(randomize):
    reference = randomize(Res2Net(SMALL)).eval()
    ours = from_timm(reference)
    result = eager.compare(reference, ours, torch.randn(2, 3, 64, 64), peer="reference", rounds=3)
    assert result.gmacs == ours.plan(1, 64, 64).macs / 1e9
    lines = result.lines()
    assert lines[0].startswith("reference eager, channels_last")
    assert lines[1].startswith("r2n_kernels")
    assert f"{result.speedup:.2f}x" in lines[2]


def test_command(capsys):
    args = ["--model", "res2net50_48w_2s", "--peer", "reference", "--batch", "1", "--size", "64"]
    assert eager.main([*args, "--rounds", "2", "--threads", str(torch.get_num_threads())]) == 0
    out = capsys.readouterr().out
    assert describe_machine() in out
    assert "res2net50_48w_2s, float32, batch 1, 64 px, model only" in out


def test_no_times_for_wrong_outputs(capsys, monkeypatch):
    monkeypatch.setattr("r2n_kernels.fold.batchnorm.BN_EPS", 1e-2)
    args = ["--model", "res2net50_48w_2s", "--peer", "reference", "--batch", "1", "--size", "64"]
    assert eager.main(args) == 1
    captured = capsys.readouterr()
    assert "wrong outputs, so no times: feature 0" in captured.err
    assert captured.out == ""


def test_unknown_variant_is_named():
    with pytest.raises(UnknownModelError, match="nearest"):
        eager.main(["--model", "resnet50"])
