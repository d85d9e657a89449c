from __future__ import annotations

import json

from r2n_kernels.benchmarks.devices import DEVICES
from r2n_kernels.cli import main
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.plan import build_plan


def test_what_is_printed_says_predicted(capsys):
    assert main(["roofline", "--device", "RTX-4090", "--batch", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"predicted, not measured: {HEADLINE}, 224x224, float16"
    assert lines[3].startswith("predicted ")
    names = [line.split()[:3] for line in lines[4:7]]
    assert names == [["batch", "8", s] for s in ("eager", "compiled", "r2n_kernels")]
    assert sum("published" in line and "predicted" in line for line in lines) == 4


def test_all_devices_and_batches(capsys):
    args = ["--device", "all", "--batch", "1", "2", "2", "--model", "res2next50", "--size", "64x96"]
    assert main(["roofline", *args]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} (peaks: " in out for name in DEVICES)
    assert out.count("\nbatch ") == 2 * 3 * len(DEVICES)


def test_each_step(capsys):
    assert main(["roofline", "--batch", "256", "--steps"]) == 0
    out = capsys.readouterr().out
    for step in build_plan(VARIANTS[HEADLINE], 256, 224, 224, backend="triton").steps:
        assert f"\n{step.name} " in out


def test_json(capsys):
    assert main(["roofline", "--batch", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predicted"] is True
    assert len(found["residuals"]) == 4
    eager, compiled, ours = found["schedules"]
    assert eager["launches"] == 637
    assert {step["bound"] for step in ours["steps"]} <= {"compute", "memory", "L2", "launch"}
    assert compiled["img/s"] == 1 / sum(step["seconds"] for step in compiled["steps"])


def test_an_unknown_device(capsys):
    assert main(["roofline", "--device", "TPU"]) == 2
    assert "invalid choice: 'TPU'" in capsys.readouterr().err
