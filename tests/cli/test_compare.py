from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import pytest

from r2n_kernels.benchmarks.records import Record, append
from r2n_kernels.cli import main

BASE = Record(
    subject="r2n_kernels", model="res2net50_26w_4s", dtype="float32", layout="channels_last",
    backend="auto", batch=8, height=224, width=224, scope="model", step=None, count=1,
    macs=1, bytes=None, memory=None, peak=None, machine={"cpu": "a chip"},
    commit=None, dirty=False, kernels="0", time="2026-11-25T00:00:00+00:00",
    samples=tuple((0.1 + 0.0001 * i,) for i in range(20)), again=(), parity={"passed": True},
)  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """files(BASE's changes for the new file) -> arguments."""

    def make(**changes) -> list[str]:
        paths = [tmp_path / "base.jsonl", tmp_path / "new.jsonl"]
        for path, record in zip(paths, (BASE, dataclasses.replace(BASE, **changes)), strict=True):
            append(path, record)
        return ["compare", *map(str, paths)]

    return make


SLOWER = tuple((s * 1.1,) for s in BASE.seconds)


def test_no_change(files, capsys):
    assert main(files()) == 0
    _, line, note = capsys.readouterr().out.splitlines()
    assert note.startswith("one run on a side: how processes differ is not part of its noise")
    assert "same" in line
    assert line.endswith("r2n_kernels, res2net50_26w_4s, float32, batch 8, 224x224, model")


def test_a_regression(files, capsys, tmp_path):
    report = tmp_path / "report.xml"
    assert main([*files(samples=SLOWER), "--json", "-", "--junit", str(report)]) == 1
    (found,) = json.loads(capsys.readouterr().out)["compared"]
    assert (found["verdict"], found["ratio"]) == ("regression", pytest.approx(1.1))
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert "1.100 times as long" in suite.find("testcase/failure").get("message")


def test_a_higher_floor(files):
    assert main([*files(samples=SLOWER), "--floor", "0.2"]) == 0


def test_not_comparable(files, capsys, tmp_path):
    report = tmp_path / "report.xml"
    assert main([*files(dtype="bfloat16"), "--junit", str(report)]) == 2
    assert capsys.readouterr().out.splitlines()[-2].endswith("dtype: float32 and bfloat16")
    assert ElementTree.parse(report).getroot().find("testcase/error") is not None


def test_a_regression_beside_what_is_not_comparable(files, tmp_path):
    arguments = files(samples=SLOWER)
    append(tmp_path / "new.jsonl", dataclasses.replace(BASE, dtype="bfloat16"))
    assert main(arguments) == 1


def test_what_was_not_measured_again_is_told(files, capsys, tmp_path):
    arguments = files()
    append(tmp_path / "base.jsonl", dataclasses.replace(BASE, scope="step", step="layer1.0.conv1"))
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-2]
    assert last.startswith("only in ")
    assert last.endswith("batch 8, 224x224, layer1.0.conv1")


def test_a_damaged_file(files, capsys, tmp_path):
    arguments = files()
    (tmp_path / "new.jsonl").write_text("hello\n")
    assert main(arguments) == 2
    assert "new.jsonl, line 1: is no JSON" in capsys.readouterr().err


def test_a_torn_line_is_told(files, capsys, tmp_path):
    arguments = files()
    with open(tmp_path / "base.jsonl", "a") as file:
        file.write(BASE.to_json()[:50])
    assert main(arguments) == 0
    assert "base.jsonl: passed over unfinished lines 2" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "1", "x"])
def test_a_floor_is_a_share(files, text, capsys):
    assert main([*files(), "--floor", text]) == 2
    assert "expected a share from 0 to 1" in capsys.readouterr().err
