from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import re, sys
from pathlib import Path
import numpy as np
from r2n_kernels.results import Output, Row

path, kind, width, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
vectors = np.random.default_rng(0).random((256, width), np.float32) if width else None
top = [(index, "a label of some length", index / 7) for index in range(5)]
with Output(path, kind, vectors="float32" if width else None).begin({}, batch_size=256) as run:
    for start in range(0, rows, 256):
        names = [f"/data/photographs/{start + index:0180}.jpg" for index in range(256)]
        run.write([Row(name, None, top if kind == "classes" else ()) for name in names], vectors)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize(
    ("name", "kind", "width"),
    [
        ("out.parquet", "classes", 0),
        ("out.parquet", "embeddings", 512),
        ("out.npz", "embeddings", 512),
        ("out.csv", "classes", 0),
    ],
)
def test_many_rows_take_no_more_memory(tmp_path, name, kind, width):
    """pyarrow's memory, too, which is not Python's: 100,352 rows beside 1,024."""
    peaks = []
    for rows in (1024, 100_352):
        command = [sys.executable, "-c", RUN, str(tmp_path / name), kind, str(width), str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[0] < 300_000  # kB: of the process itself, and not of the one that started it
    assert peaks[1] - peaks[0] < 100_000
