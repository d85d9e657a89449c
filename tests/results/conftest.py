from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2n_kernels.results import Output, Row

WIDTH = 3
Data = list[tuple[Row, list[float] | None]]


@pytest.fixture
def hard_names() -> list[str]:
    """File names that break careless writers."""
    return [
        "plain.png",
        'quote".png',
        "comma,semicolon;tab\t.png",
        "new\nline.png",
        "carriage\rreturn\r\n.png",
        " spaces around ",
        "ünïcödé 漢字 🖼.png",
        os.fsdecode(b"caf\xe9\xff\x80.png"),
        "\\udcff backslash.png",
        "100%25.png",
        "=1+1",
        "",
    ]


def rows_of(names: list[str], classes: bool = True) -> Data:
    """Every third input fails, beginning with the first."""
    found: Data = []
    for index, name in enumerate(names):
        if index % 3 == 0:
            found.append((Row(name, f"cannot read {name}"), None))
        else:
            top = [(index, name, 0.75), (7, None, 0.125)] if classes else ()
            found.append((Row(name, None, top), [index + 0.5, -1.0, 0.1]))
    return found


def put(output: Output, data: Data, batch: int = 4, stop: int | None = None, **begin: Any) -> None:
    """Write rows in batches, behind those that are there; fail before the row `stop`."""
    begin = {"identity": {"model": "m"}, "batch_size": batch, **begin}
    with output.begin(**begin) as run:
        for start in range(run.rows, len(data), batch):
            if stop is not None and start >= stop:
                raise RuntimeError("stopped")
            part = data[start : start + batch]
            vectors = [vector for _, vector in part if vector is not None]
            given = np.array(vectors, np.float32) if vectors and output.vectors else None
            run.write([row for row, _ in part], given)


@pytest.fixture
def many() -> Data:
    return rows_of([f"{index:04}.png" for index in range(50)])


@pytest.fixture
def lines() -> Callable[[Path], list[dict]]:
    """What a reader finds in JSON lines."""

    def read(path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]

    return read
