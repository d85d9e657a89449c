from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from r2n_kernels.benchmarks.devices import DEVICES
from r2n_kernels.benchmarks.roofline import MEASURED, PUBLISHED, SCHEDULES, predict, residuals
from r2n_kernels.benchmarks.tables import markdown_table
from r2n_kernels.cli import main
from r2n_kernels.cli.roofline import rates, span
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_what_is_printed_says_predicted(capsys):
    assert main(["roofline", "--device", "RTX-4090", "--batch", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"predicted, not measured: {HEADLINE}, 224x224, float16"
    assert lines[3].startswith("L2 reads: 4.9-5.2 TB/s, measured: ")
    assert lines[4].startswith("predicted ")
    names = [line.split()[:3] for line in lines[5:9]]
    assert names == [["batch", "8", s] for s in ("eager", "compiled", "tiled", "r2n_kernels")]
    assert sum("published" in line and "predicted" in line for line in lines) == len(PUBLISHED)


def test_a_range_is_printed(capsys):
    assert main(["roofline", "--batch", "256"]) == 0
    (line,) = (li for li in capsys.readouterr().out.splitlines() if "256 r2n_kernels" in li)
    low, high = re.match(r"batch 256 r2n_kernels ([\d,]+)-([\d,]+) ", line).groups()
    assert (low, high) == ("22,400", "27,600")


@pytest.mark.parametrize("name", DEVICES)
def test_a_guess_is_printed_as_one(capsys, name):
    assert main(["roofline", "--device", name, "--batch", "1"]) == 0
    (line,) = (li for li in capsys.readouterr().out.splitlines() if li.startswith("L2 reads: "))
    assert ("a guess" in line) == DEVICES[name].l2.guess
    assert ("measured" in line) != DEVICES[name].l2.guess


def test_residuals_are_printed(capsys):
    assert main(["roofline", "--batch", "1"]) == 0
    out = capsys.readouterr().out
    for (device, schedule), published in PUBLISHED.items():
        wanted = rf"  {device} {schedule}: published {published:,}, predicted [\d,-]+ \([+-]\d%.*\)"
        assert re.search(wanted, out)
    for (device, schedule), rate in MEASURED.items():
        wanted = rf"  {device} {schedule}: measured {rate:,}, predicted [\d,-]+ \([+-]\d+%.*\)"
        assert re.search(wanted, out)


def test_all_devices_and_batches(capsys):
    args = ["--device", "all", "--batch", "1", "2", "2", "--model", "res2next50", "--size", "64x96"]
    assert main(["roofline", *args]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} (peaks: " in out for name in DEVICES)
    assert out.count("\nbatch ") == 2 * 4 * len(DEVICES)


def test_int8_is_one_schedule_more(capsys):
    for options, count in (([], 4), (["--int8"], 5)):
        assert main(["roofline", "--batch", "8", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("batch 8 ") for line in lines) == count
    assert any(line.startswith("batch 8 int8 ") for line in lines)


def test_each_step(capsys):
    assert main(["roofline", "--batch", "256", "--steps"]) == 0
    out = capsys.readouterr().out
    shape = VARIANTS[HEADLINE], 256, 224, 224, torch.float16
    for step in build_plan(*shape, "triton", target=TARGETS["sm_90"]).main:
        assert f"\n{step.name} " in out


def test_json(capsys):
    assert main(["roofline", "--batch", "1", "--device", "H100-SXM", "RTX-5090", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predicted"] is True
    assert found["l2"]["RTX-5090"]["guess"] is True
    assert (found["l2"]["H100-SXM"]["low"], found["l2"]["H100-SXM"]["high"]) == (7.0e12, 9.7e12)
    assert [r["published"] for r in found["residuals"]] == list(PUBLISHED.values())
    assert [r["measured"] for r in found["measured"]] == list(MEASURED.values())
    assert all(r["img/s"]["low"] <= r["img/s"]["high"] for r in found["residuals"])
    eager, compiled, ours = found["schedules"][:3]
    assert eager["launches"] == 637
    ends = [step[end] for step in ours["steps"] for end in ("slow", "fast")]
    assert {end["bound"] for end in ends} <= {"compute", "memory", "L2", "launch"}
    for end, name in (("slow", "low"), ("fast", "high")):
        seconds = sum(step[end]["seconds"] for step in compiled["steps"])
        assert compiled["img/s"][name] == 1 / seconds


def test_an_unknown_device(capsys):
    assert main(["roofline", "--device", "TPU"]) == 2
    assert "invalid choice: 'TPU'" in capsys.readouterr().err


def test_ends_that_read_alike_are_one():
    assert span("7", "7") == "7"
    assert span("7", "8") == "7-8"
    assert span("-1%", "+1%", to=" to ") == "-1% to +1%"


class TestPage:
    def test_its_table_is_the_command_s(self):
        rows = [
            [name, *(rates(predict(s, VARIANTS[HEADLINE], 256, 224, 224, d)) for s in SCHEDULES)]
            for name, d in DEVICES.items()
        ]
        titles = ("", "eager timm", "`torch.compile`", "this project, all tiled", "this project")
        wanted = "\n".join(markdown_table([titles, *rows])).replace("|  |", "| |", 1)
        assert wanted in PAGE.read_text(encoding="utf-8")

    def test_the_table_of_int8(self):
        chains = (PAGE.parent / "chains.md").read_text(encoding="utf-8")
        for name in ("A100-SXM-80GB", "H100-SXM", "B200", "RTX-4090", "RTX-5090"):
            half, int8 = (
                rates(predict(s, VARIANTS[HEADLINE], 256, 224, 224, DEVICES[name]))
                for s in ("r2n_kernels", "int8")
            )
            assert f"| {name} | {half} | {int8} |" in chains

    def test_what_an_h200_showed(self):
        text = " ".join(PAGE.read_text(encoding="utf-8").split())
        for (_, schedule), rate in MEASURED.items():
            off = [rate / predicted - 1 for found, p in residuals(MEASURED)
                   if found == rate for predicted in p.rates]  # fmt: skip
            low, high = (f"{-100 * share:.0f}" for share in sorted(off, reverse=True))
            assert f"{schedule} {rate:,}, {low} to {high} % less" in text

    def test_its_residuals(self):
        off = [100 * (rate / published - 1) for published, p in residuals() for rate in p.rates]
        text = " ".join(PAGE.read_text(encoding="utf-8").split())
        assert f"residuals of {min(off):+.0f} % to {max(off):+.0f} %" in text
