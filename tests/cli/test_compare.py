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
    commit="a" * 40, dirty=False, kernels="0", time="2026-11-25T00:00:00+00:00",
    samples=((0.1,),), again=(), parity={"passed": True},
)  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """files(times of the new file's, BASE's changes for it) -> arguments; five runs a side."""

    def make(slower=1.0, runs=5, **changes) -> list[str]:
        new = dataclasses.replace(BASE, **{"commit": "b" * 40, **changes})
        paths = [tmp_path / "base.jsonl", tmp_path / "new.jsonl"]
        for path, record, seconds in zip(paths, (BASE, new), (0.1, 0.1 * slower), strict=True):
            for i in range(runs):
                time = seconds * (1 + 1e-3 * (i % 3))
                append(path, dataclasses.replace(record, samples=((time,),)))
        return ["compare", *map(str, paths)]

    return make


NAME = "r2n_kernels, res2net50_26w_4s, float32, batch 8, 224x224, model"


def test_no_change(files, capsys):
    assert main(files()) == 0
    case, head, line = capsys.readouterr().out.splitlines()
    assert "same" in line
    assert f"{line.split()[0]}, {case}" == NAME
    assert line.endswith(" same")
    assert max(map(len, (case, head, line))) <= 80


def test_one_run_tells_nothing(files, capsys, tmp_path):
    report = tmp_path / "report.xml"
    assert main([*files(2.7, runs=1), "--junit", str(report)]) == 2
    _, _, line, note = capsys.readouterr().out.splitlines()
    assert " 2.700 " in line
    assert note == f"unclear: {NAME}: not enough runs: 1 and 1, 5 a side are needed"
    error = ElementTree.parse(report).getroot().find("testcase/error")
    assert error.get("message") == "unclear: not enough runs: 1 and 1, 5 a side are needed"


def test_one_code(files, capsys):
    assert main(files(2.7, commit=BASE.commit)) == 0
    assert capsys.readouterr().out.endswith(
        "A/A: one code on both sides, so what differs is noise\n"
    )


def test_a_history(files, capsys, tmp_path):
    arguments = files(1.1, runs=2)
    assert main(arguments) == 2
    for i in range(9):
        record = dataclasses.replace(BASE, samples=((0.1 + i * 1e-5,),), commit="c" * 40)
        append(tmp_path / "main.jsonl", record)
    assert main([*arguments, "--history", str(tmp_path / "main.jsonl")]) == 1


def test_relative_to_a_peer(files, capsys, tmp_path):
    """A slow machine slows the peer as much."""
    arguments = files(1.1)
    assert main([*arguments, "--relative-to", "timm"]) == 2
    assert "no record is of a peer 'timm'; there are: none" in capsys.readouterr().err
    for name, record, seconds in (("base", BASE, 0.2), ("new", dataclasses.replace(
        BASE, commit="b" * 40), 0.22)):  # fmt: skip
        path = tmp_path / f"{name}.jsonl"
        ours = path.read_text().splitlines(keepends=True)
        path.unlink()
        for line in ours:
            peer = dataclasses.replace(record, subject="timm eager", samples=((seconds,),))
            append(path, peer)
            with open(path, "a") as file:
                file.write(line)
    assert main([*arguments, "--relative-to", "timm"]) == 0
    out = capsys.readouterr().out
    assert "ratios are relative to timm eager\n" in out
    assert " 1.100 " in out.splitlines()[2]  # the peer's own
    assert main(arguments) == 0
    assert main([*arguments, "--relative-to", "none"]) == 2
    assert "the machine moved by more than can be told apart: timm eager 200 -> 220 ms" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(("commit", "code"), [("a" * 40, 0), ("b" * 40, 2)])
def test_a_busy_machine_is_no_regression(tmp_path, capsys, commit, code):
    """Of one commit, and of two: peak 85 -> 37 GFLOP/s, speed-up over timm 2.10x -> 2.00x."""
    both = {"base": (0.1, 0.21, 85e9, "a" * 40), "new": (0.2415, 0.483, 37e9, commit)}
    for name, (seconds, peer, flops, of) in both.items():
        for i in range(5):
            shared = {"commit": of, "peak": {"flops": flops + i}, "run": f"{name}{i}"}
            for subject, time in (("timm eager", peer), ("r2n_kernels", seconds)):
                samples = ((time * (1 + 1e-3 * (i % 3)),),)
                record = dataclasses.replace(BASE, subject=subject, samples=samples, **shared)
                append(tmp_path / f"{name}.jsonl", record)
    assert main(["compare", *(str(tmp_path / f"{name}.jsonl") for name in both)]) == code
    out = capsys.readouterr().out
    assert " 1.050 " in out
    assert "regression" not in out
    if code:
        assert "told apart: timm eager 210.2 -> 483.4 ms, peak 85 -> 37 GFLOP/s" in out


def test_a_regression(files, capsys, tmp_path):
    report = tmp_path / "report.xml"
    assert main([*files(1.1), "--json", "-", "--junit", str(report)]) == 1
    (found,) = json.loads(capsys.readouterr().out)["compared"]
    assert (found["verdict"], found["ratio"]) == ("regression", pytest.approx(1.1))
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert "1.100 times as long" in suite.find("testcase/failure").get("message")


def test_a_higher_floor(files):
    assert main([*files(1.1), "--floor", "0.2"]) == 0


def test_not_comparable(files, capsys, tmp_path):
    report = tmp_path / "report.xml"
    assert main([*files(dtype="bfloat16"), "--junit", str(report)]) == 2
    assert "dtype: float32 and bfloat16\n" in capsys.readouterr().out
    assert ElementTree.parse(report).getroot().find("testcase/error") is not None


def test_a_regression_beside_what_is_not_comparable(files, tmp_path):
    arguments = files(1.1)
    append(tmp_path / "new.jsonl", dataclasses.replace(BASE, dtype="bfloat16"))
    assert main(arguments) == 1


def test_what_was_not_measured_again_is_told(files, capsys, tmp_path):
    arguments = files()
    append(tmp_path / "base.jsonl", dataclasses.replace(BASE, scope="step", step="layer1.0.conv1"))
    assert main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
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
    assert "base.jsonl: passed over unfinished lines 6" in capsys.readouterr().err


def test_other_formats(files, capsys):
    arguments = files(1.1)
    for name, first in (("markdown", "### Slower: 1 regression"), ("github", "::error file=")):
        assert main([*arguments, "--format", name]) == 1
        assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize("text", ["-1", "1", "x"])
def test_a_floor_is_a_share(files, text, capsys):
    assert main([*files(), "--floor", text]) == 2
    assert "expected a share from 0 to 1" in capsys.readouterr().err
