from __future__ import annotations

import dataclasses
import json

import pytest

from r2n_kernels.benchmarks.records import append
from r2n_kernels.cli import main


@pytest.fixture
def history(record, tmp_path):
    """history(seconds of each commit) -> a file's name."""

    def make(seconds) -> str:
        path = tmp_path / "main.jsonl"
        for i, time in enumerate(seconds):
            commit, day = f"{i:02}" * 20, f"2026-11-{i % 30 + 1:02}T00:00:00+00:00"
            changes = {
                "samples": ((time,),),
                "again": (),
                "commit": commit,
                "time": day,
                "run": str(i),
            }
            append(path, dataclasses.replace(record, **changes))
        return str(path)

    return make


SLOWER = [0.1, 0.1001] * 6 + [0.12, 0.1201] * 6


def test_a_slow_down(history, capsys):
    assert main(["history", history(SLOWER)]) == 1
    head, change = capsys.readouterr().out.splitlines()
    assert head == "r2n_kernels, res2net50_26w_4s, float32, batch 8, 224x224, model: 24 commits"
    assert change.startswith("  slower: 1.200 times as long from 111111111111..121212121212 on")
    assert change.endswith(", 2026-11-13, p 0.001")


def test_only_the_newest_commits(history):
    name = history(SLOWER)
    assert main(["history", name, "--last", "12"]) == 1
    assert main(["history", name, "--last", "11"]) == 0


def test_a_speed_up_and_nothing(history, capsys):
    assert main(["history", history(SLOWER[::-1])]) == 0
    assert "  faster: 0.833 times as long" in capsys.readouterr().out


def test_no_change(history, capsys):
    assert main(["history", history([0.1, 0.1001] * 8)]) == 0
    assert capsys.readouterr().out.endswith("16 commits\n  no change\n")


def test_too_few_commits(history, capsys):
    assert main(["history", history([0.1] * 10)]) == 2
    assert capsys.readouterr().out.endswith("10 commits: too few to tell\n")


def test_for_machines(history, capsys, tmp_path):
    folder = tmp_path / "a" / "series"
    assert main(["history", history(SLOWER), "--json", "-", "--otava", str(folder)]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["changes"][0]["commit"] == "12" * 20
    assert len(found["times"]) == 24
    (file,) = folder.iterdir()
    assert file.name == "r2n_kernels-res2net50_26w_4s-float32-batch-8-224x224-model.csv"
    assert len(file.read_text().splitlines()) == 25


def test_nowhere_to_write(history, capsys):
    name = history([0.1])
    assert main(["history", name, "--otava", name]) == 2
    assert "--otava" in capsys.readouterr().err
