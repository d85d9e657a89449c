from __future__ import annotations

import dataclasses

import pytest

from r2n_kernels.benchmarks.gpu.table import MARKS, main

EAGER, OURS = "timm eager, channels_last", "r2n_kernels, triton"


@pytest.fixture
def on_gpu(record):
    """on_gpu(subject, batch, seconds, ...): a line of a file of records."""
    machine = {**record.machine, "gpu": "NVIDIA H100", "driver": "580"}

    def make(subject: str, batch: int, seconds: float, **rest) -> str:
        given = {"machine": machine, "dtype": "float16", "samples": ((seconds,),), **rest}
        return dataclasses.replace(record, subject=subject, batch=batch, **given).to_json() + "\n"

    return make


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# x\n{MARKS[0]}\nold\n{MARKS[1]}\nend\n")
    return path


def test_the_table(on_gpu, readme, tmp_path):
    lines = [on_gpu(EAGER, 1, 0.01), on_gpu(OURS, 1, 0.002), on_gpu(EAGER, 256, 0.2)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (tmp_path / "b.jsonl").write_text(on_gpu(OURS, 256, 0.016))
    assert main([str(tmp_path), "--markdown", str(readme)]) == 0
    before, title, _, *table, end = readme.read_text().replace("\n\n", "\n \n").splitlines()[1:]
    assert before == MARKS[0]
    assert title == (
        "2026-11-25, NVIDIA H100, driver 580, torch 2.14.1, Triton 3.8.0, commit 0000000000: "
        f"res2net50_26w_4s, float16, 224x224. In brackets: over {EAGER}."
    )
    assert table[:4] == [
        "| img/s | batch 1 | batch 256 |",
        "|---|--:|--:|",
        f"| {EAGER} | 100 (1.00x) | 1,280 (1.00x) |",
        f"| {OURS} | 500 (5.00x) | 16,000 (12.50x) |",
    ]
    assert table[-1] == MARKS[1]
    assert end == "end"


def test_the_newest_commit_alone(on_gpu, tmp_path, capsys):
    old = on_gpu(OURS, 8, 0.1) + on_gpu("r2n_kernels, torch", 8, 0.2)
    new = on_gpu(OURS, 8, 0.01, commit="1" * 40, time="2026-11-26T00:00:00+00:00")
    (tmp_path / "new.jsonl").write_text(new)
    (tmp_path / "old.jsonl").write_text(old)
    other = on_gpu(OURS, 8, 0.02, dtype="bfloat16")
    (tmp_path / "other.jsonl").write_text(other)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"| {OURS} | 800 |" in out
    assert f"| {OURS} | 400 |" in out
    assert "r2n_kernels, torch" not in out
    assert out.count("|---|--:|") == 2


def test_without_records_nothing_changes(record, readme, tmp_path, capsys):
    (tmp_path / "cpu.jsonl").write_text(record.to_json() + "\n")
    (tmp_path / "empty.jsonl").touch()
    before = readme.read_text()
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main([str(folder), "--markdown", str(readme)]) == 0
        assert capsys.readouterr().out == (f"{folder}: no records of a GPU, so there is no table\n")
    assert readme.read_text() == before


def test_what_cannot_be_used(on_gpu, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text(on_gpu(OURS, 8, 0.1))
    (tmp_path / "README.md").write_text("no marks")
    assert main([str(tmp_path), "--markdown", str(tmp_path / "README.md")]) == 2
    assert "has no lines '<!-- gpu: begin -->' and '<!-- gpu: end -->'" in capsys.readouterr().err
    (tmp_path / "b.jsonl").write_text("damaged\n")
    assert main([str(tmp_path)]) == 2
    assert "b.jsonl, line 1: is no JSON" in capsys.readouterr().err
