from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors import safe_open

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import Output, Row, arrays

from .conftest import WIDTH, put, rows_of

FORMATS = ["out.npz", "out.npy", "out.safetensors"]


def read(path):
    """paths, status, errors (None where ok), embeddings."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            errors = [str(error) or None for error in file["error"]]
            return file["paths"].tolist(), file["status"].tolist(), errors, file["embeddings"]
    if path.suffix == ".npy":
        text = path.with_name(f"{path.name}.rows.jsonl").read_text()
        rows = list(map(json.loads, text.splitlines()))
        columns = [[row[key] for row in rows] for key in ("path", "status", "error")]
        return *columns, np.load(path)
    with safe_open(path, "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        values = file.get_tensor("embeddings")
    return metadata["paths"], metadata["status"], metadata["error"], values


@pytest.fixture(params=FORMATS)
def target(request, tmp_path):
    return tmp_path / request.param


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_and_names_survive(target, hard_names, dtype):
    data = rows_of(hard_names, classes=False)
    put(Output(target, "embeddings", vectors=dtype), data)
    paths, status, errors, values = read(target)
    assert paths == hard_names
    assert status == ["ok" if row.error is None else "error" for row, _ in data]
    assert errors == [row.error for row, _ in data]
    expected = np.array([vector or [np.nan] * WIDTH for _, vector in data], np.float32)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, expected.astype(dtype))


def test_no_rows_and_no_good_rows(target):
    put(Output(target, "embeddings"), [])
    paths, status, errors, values = read(target)
    assert (paths, status, errors, values.shape) == ([], [], [], (0, 0))
    put(Output(target, "embeddings"), [(Row("a.png", "no such file"), None)])
    paths, status, errors, values = read(target)
    assert (paths, status, values.shape) == (["a.png"], ["error"], (1, 0))


def test_the_first_good_row_comes_late(target):
    data = [(Row(f"{index}", "no such file"), None) for index in range(10)]
    put(Output(target, "embeddings"), [*data, (Row("good"), [1.0, 2.0])])
    values = read(target)[3]
    assert np.isnan(values[:10]).all()
    np.testing.assert_array_equal(values[10], [1, 2])


def test_the_same_rows_are_the_same_bytes(target, many):
    output = Output(target, "embeddings")
    put(output, many_embeddings := [(Row(row.path, row.error), v) for row, v in many])
    once = target.read_bytes()
    os.utime(target, (0, 0))
    put(output, many_embeddings)
    assert target.read_bytes() == once


def test_all_probabilities(tmp_path, many):
    put(Output(tmp_path / "out.npz", "classes", vectors="float32"), many)
    with np.load(tmp_path / "out.npz") as file:
        assert sorted(file) == ["error", "paths", "probabilities", "status"]
        assert file["probabilities"].shape == (50, WIDTH)


def test_one_long_name_does_not_count_for_all(tmp_path):
    """In a string array of numpy's every name takes the room of the longest."""
    names = [f"{index}.png" for index in range(20_000)] + ["x" * 2500 + ".png"]
    data = [(Row(name), [1.0]) for name in names]
    tracemalloc.start()
    put(Output(tmp_path / "out.npz", "embeddings"), data, batch=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * 2**20  # the array has 191 MiB
    assert (tmp_path / "out.npz").stat().st_size < 2 * 2**20


def test_vectors_wait_on_disk(target):
    row = [0.5] * 4096
    tracemalloc.start()
    with Output(target, "embeddings").begin({}, batch_size=100) as run:
        for start in range(0, 4000, 100):  # 62.5 MiB
            names = [Row(f"{start + index}.png") for index in range(100)]
            run.write(names, np.array([row] * 100, np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25 * 2**20
    assert read(target)[3].shape == (4000, 4096)


def test_a_header_that_is_full_is_told_at_once(tmp_path, monkeypatch):
    """A file with a longer header could be written but not read; the rows go into another."""
    monkeypatch.setattr(arrays, "SAFETENSORS_HEADER_LIMIT", 20_000)
    data = [(Row('a"\udcff\n.png'), [1.0])] * 1000
    told = r"holds \d+ rows .* rename '(.*)out\.safetensors\.partial' to NAME\.npz\.partial"
    with pytest.raises(ConfigError, match=told):
        put(Output(tmp_path / "out.safetensors", "embeddings"), data)
    with pytest.raises(ConfigError, match=told):  # also where an earlier run filled it
        put(Output(tmp_path / "out.safetensors", "embeddings"), data, resume=True)
    (tmp_path / "out.safetensors.partial").rename(tmp_path / "out.npz.partial")
    put(Output(tmp_path / "out.npz", "embeddings"), data, resume=True)
    assert len(read(tmp_path / "out.npz")[0]) == 1000
    put(Output(tmp_path / "out.safetensors", "embeddings"), data[:404])
    length = int.from_bytes((tmp_path / "out.safetensors").read_bytes()[:8], "little")
    assert 20_000 - arrays.HEADER_ROOM - 100 < length <= 20_000
