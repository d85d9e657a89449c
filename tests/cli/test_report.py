from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from r2n_kernels.benchmarks.records import append
from r2n_kernels.cli import main


@pytest.fixture
def records(record, tmp_path, monkeypatch):
    """records.jsonl in the current folder."""
    monkeypatch.chdir(tmp_path)
    append(tmp_path / "records.jsonl", record)
    return tmp_path / "records.jsonl"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file(records, tmp_path, capsys):
    assert main(["report", "records.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("report.html: 1 record, 1 chart, 0 regressions\n", "")
    assert "<!DOCTYPE html>" in (tmp_path / "report.html").read_text()
    assert names(tmp_path) == ["records.jsonl", "report.html"]


def test_several_files_and_pngs(record, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, seconds, day in (("records", 0.1, 25), ("more", 0.11, 26)):
        samples = tuple((seconds + 1e-4 * i,) for i in range(20))
        time = f"2026-11-{day}T00:00:00+00:00"
        changed = {"samples": samples, "again": (), "time": time, "commit": str(day) * 20}
        one = dataclasses.replace(record, **changed)
        for _ in range(5):
            append(tmp_path / f"{name}.jsonl", one)
    files = ["report", "records.jsonl", "more.jsonl", "--output", "page.html", "--png", "a/charts"]
    assert main(files) == 0
    assert capsys.readouterr().out == "page.html: 10 records, 2 charts, 1 regression\n"
    assert names(tmp_path / "a" / "charts") == [
        "history-res2net50_26w_4s-float32-224x224-batch-8-machine-a.png",
        "throughput-res2net50_26w_4s-float32-224x224-machine-a.png",
    ]
    assert "records in records.jsonl, more.jsonl" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("given", "linked"), [("https://forge.example/c/{sha}", True), ("none", False)]
)
def test_commit_urls(records, tmp_path, given, linked):
    assert main(["report", "records.jsonl", "--commit-url", given]) == 0
    found = f'href="https://forge.example/c/{"0" * 40}"' in (tmp_path / "report.html").read_text()
    assert found == linked


def test_a_commit_url_without_its_place(records, capsys):
    assert main(["report", "records.jsonl", "--commit-url", "https://forge.example/"]) == 2
    assert "with {sha} in it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pytest-benchmark", "github-action-benchmark"])
def test_for_other_tools(records, tmp_path, capsys, name):
    assert main(["report", "records.jsonl", "--format", name, "--output", "-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["report", "records.jsonl", "--format", name]) == 0
    assert json.loads((tmp_path / "report.json").read_text()) == printed


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--format", "pytest-benchmark", "--png", "x"], "go with --format html alone"),
        (["--output", "-"], "the page is a file"),
    ],
)
def test_what_does_not_go_together(records, capsys, given, reason):
    assert main(["report", "records.jsonl", *given]) == 2
    assert reason in capsys.readouterr().err


def test_a_torn_line_is_told(records, record, capsys):
    with open(records, "a") as file:
        file.write(record.to_json()[:50])
    assert main(["report", "records.jsonl"]) == 0
    assert capsys.readouterr().err == "records.jsonl: passed over unfinished lines 2\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "bad.jsonl: holds no record"),
        ("hello\n", "bad.jsonl, line 1: is no JSON"),
    ],
    ids=["empty", "damaged"],
)
def test_a_refusal_leaves_the_old_page(records, tmp_path, capsys, text, reason):
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "bad.jsonl").write_text(text)
    assert main(["report", "records.jsonl", "bad.jsonl"]) == 2
    assert reason in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_time_that_is_none(records, record, capsys):
    append(records, dataclasses.replace(record, time="yesterday"))
    assert main(["report", "records.jsonl"]) == 2
    assert "'time' of a record is not ISO 8601: 'yesterday'" in capsys.readouterr().err


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
