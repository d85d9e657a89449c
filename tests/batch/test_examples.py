"""The examples in docs/examples run as they are."""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(name: str, *words: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path, photos) -> Path:
    """Three digits and one file that is no image."""
    made = tmp_path / "in"
    made.mkdir()
    for path in photos[:6:2]:
        (made / Path(path).name).symlink_to(path)
    (made / "text.png").write_bytes(b"text")
    return made


def check(output: Path) -> None:
    rows = {Path(row["path"]).name: row for row in pq.read_table(output).to_pylist()}
    assert len(rows) == 4
    assert rows.pop("text.png")["status"] == "error"
    assert all(row["top_label"][0] == name.split("_")[1] for name, row in rows.items())


@pytest.mark.slow
def test_ray(folder, digits, tmp_path):
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    private = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN_PATH": str(token)}
    run("ray_data.py", str(folder), str(tmp_path / "out"), "--model", digits, **private)
    check(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="needs pyspark and Java")
def test_spark(folder, digits, tmp_path):
    private = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    run("spark_classify.py", str(folder), str(tmp_path / "out"), "--model", digits, **private)
    check(tmp_path / "out")
