from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess

import pytest

from r2n_kernels.benchmarks.exports import pytest_benchmark, smaller_is_better


def records(record):
    old = dataclasses.replace(record, samples=((1.0,),))
    new = dataclasses.replace(record, samples=((0.1,), (0.2,), (0.3,), (0.4,), (4.0,)), branch="b")
    return [old, dataclasses.replace(new, batch=1), new]


def test_pytest_benchmark(record):
    found = json.loads(json.dumps(pytest_benchmark(records(record)), allow_nan=False))
    assert found["commit_info"]["id"] == "0" * 40
    assert found["commit_info"]["branch"] == "b"
    assert [b["params"]["batch"] for b in found["benchmarks"]] == [8, 1]
    stats = found["benchmarks"][0]["stats"]
    assert (stats["min"], stats["max"], stats["median"], stats["rounds"]) == (0.1, 4.0, 0.3, 5)
    assert stats["mean"] == pytest.approx(1.0)
    assert (stats["q1"], stats["q3"], stats["outliers"]) == (0.2, 0.4, "1;1")
    assert (stats["hd15iqr"], stats["ops"], stats["total"]) == (0.4, pytest.approx(1), 5.0)


def test_one_round(record):
    (found,) = pytest_benchmark(records(record)[:1])["benchmarks"]
    assert (found["stats"]["stddev"], found["stats"]["outliers"]) == (0.0, "0;0")


@pytest.mark.skipif(not shutil.which("pytest-benchmark"), reason="pytest-benchmark is not there")
def test_pytest_benchmark_reads_it(record, tmp_path):
    for name in ("0001_a.json", "0002_b.json"):
        (tmp_path / name).write_text(json.dumps(pytest_benchmark(records(record))))
    command = ["pytest-benchmark", "compare", "0001_a.json", "0002_b.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("r2n_kernels") == 4


def test_github_action_benchmark(record):
    found = smaller_is_better(records(record))
    assert [one["unit"] for one in found] == ["ms", "ms"]
    assert found[0]["name"] == "r2n_kernels, res2net50_26w_4s, float32, batch 8, 224x224, model"
    assert found[0]["value"] == pytest.approx(300)
    assert found[0]["range"] == "± 1.5e+03"
    assert found[0]["extra"] == f"26.67 img/s\ncommit {'0' * 40}"
