from __future__ import annotations

import dataclasses
import sys

import pytest

from r2n_kernels.benchmarks.records import Record, append
from r2n_kernels.cli import main

RECORD = Record(
    subject="r2n_kernels", model="res2net50_26w_4s", dtype="float32", layout="channels_last",
    backend="auto", batch=8, height=224, width=224, scope="model", step=None, count=1,
    macs=34 * 10**9, bytes=None, memory=None, peak=None, machine={"cpu": "a chip"},
    commit=None, dirty=False, kernels="0", time="2026-11-25T00:00:00+00:00",
    samples=tuple((0.1 + 0.0001 * i,) for i in range(20)), again=(), parity={"passed": True},
)  # fmt: skip


@pytest.fixture
def records(tmp_path, monkeypatch):
    """records.jsonl in the current folder."""
    monkeypatch.chdir(tmp_path)
    append(tmp_path / "records.jsonl", RECORD)
    return tmp_path / "records.jsonl"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file(records, tmp_path, capsys):
    assert main(["report", "records.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("report.html: 1 record, 1 chart, 0 regressions\n", "")
    assert "<!DOCTYPE html>" in (tmp_path / "report.html").read_text()
    assert names(tmp_path) == ["records.jsonl", "report.html"]


def test_several_files_and_pngs(records, tmp_path, capsys):
    slower = tuple((s * 1.1,) for s in RECORD.seconds)
    later = "2026-11-26T00:00:00+00:00"
    append(tmp_path / "more.jsonl", dataclasses.replace(RECORD, samples=slower, time=later))
    files = ["report", "records.jsonl", "more.jsonl", "--output", "page.html", "--png", "a/charts"]
    assert main(files) == 0
    assert capsys.readouterr().out == "page.html: 2 records, 2 charts, 1 regression\n"
    assert names(tmp_path / "a" / "charts") == [
        "history-res2net50_26w_4s-float32-224x224-batch-8-machine-a.png",
        "throughput-res2net50_26w_4s-float32-224x224-machine-a.png",
    ]
    assert "records in records.jsonl, more.jsonl" in (tmp_path / "page.html").read_text()


def test_a_torn_line_is_told(records, capsys):
    with open(records, "a") as file:
        file.write(RECORD.to_json()[:50])
    assert main(["report", "records.jsonl"]) == 0
    assert capsys.readouterr().err == "records.jsonl: passed over unfinished lines 2\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "bad.jsonl: holds no record"),
        ("hello\n", "bad.jsonl, line 1: is no JSON"),
        (RECORD.to_json().replace("2026-11-25T", "yesterday "), "'time' of a record is not ISO"),
    ],
    ids=["empty", "damaged", "time"],
)
def test_a_refusal_leaves_the_old_page(records, tmp_path, capsys, text, reason):
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "bad.jsonl").write_text(text)
    assert main(["report", "records.jsonl", "bad.jsonl"]) == 2
    assert reason in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--output", "none/report.html"], "there is no such folder"),
        (["--output", "."], "it is a folder"),
        (["--png", "records.jsonl"], "File exists"),
    ],
    ids=str,
)
def test_nowhere_to_write(records, tmp_path, capsys, arguments, reason):
    assert main(["report", "records.jsonl", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert names(tmp_path) == ["records.jsonl"]


def test_without_matplotlib(records, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", "records.jsonl"]) == 2
    assert "charts need matplotlib: pip install 'r2n_kernels[report]'" in capsys.readouterr().err
