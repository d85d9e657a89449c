from __future__ import annotations

import json
import sys
import tracemalloc

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import Output, Row, columns

from .conftest import WIDTH, put, rows_of


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.parquet"


def names_of(table) -> list[bytes]:
    """As a reader gets them back."""
    pairs = zip(table["path"].to_pylist(), table["path_bytes"].to_pylist(), strict=True)
    return [path.encode() if odd is None else odd for path, odd in pairs]


def test_classes(target, hard_names):
    data = rows_of([*hard_names, "\ud800 stray"])
    put(Output(target, "classes", topk=2), data, identity={"model": "m", "weights": "\udcff"})
    table = pyarrow.parquet.read_table(target)
    assert names_of(table)[:-1] == [name.encode("utf-8", "surrogateescape") for name in hard_names]
    assert table["path_bytes"].null_count == len(data) - 2
    assert table["path"][7].as_py() == "caf%E9%FF%80.png"
    assert table["path"][9].as_py() == "100%25.png"
    assert table["status"].to_pylist()[:3] == ["error", "ok", "ok"]
    assert table["error"].to_pylist()[:2] == ["cannot read plain.png", None]
    assert table["top_index"].to_pylist()[:3] == [[], [1, 7], [2, 7]]
    assert table["top_label"].to_pylist()[1] == ['quote".png', None]
    assert table["top_label"].to_pylist()[7] == ["caf\\udce9\\udcff\\udc80.png", None]
    assert table["top_probability"].to_pylist()[1] == [0.75, 0.125]
    assert str(table.schema.field("top_probability").type) == "list<element: float>"
    identity = json.loads(table.schema.metadata[b"r2n_kernels"])
    assert (identity["weights"], identity["topk"]) == ("\udcff", 2)
    found = pyarrow.parquet.ParquetFile(target).metadata.row_group(0).column(0)
    assert found.compression == "ZSTD"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["embeddings", "classes"])
def test_vectors(target, many, dtype, kind):
    name = {"embeddings": "embedding", "classes": "probabilities"}[kind]
    data = many if kind == "classes" else [(Row(row.path, row.error), v) for row, v in many]
    put(Output(target, kind, vectors=dtype), data)
    table = pyarrow.parquet.read_table(target)
    value = {"float32": "float", "float16": "halffloat"}[dtype]
    assert str(table.schema.field(name).type) == f"fixed_size_list<element: {value}>[{WIDTH}]"
    assert table[name][0].as_py() == [None] * WIDTH
    found = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    expected = np.array([vector or [np.nan] * WIDTH for _, vector in data], np.float32)
    np.testing.assert_array_equal(found.reshape(-1, WIDTH), expected.astype(dtype))


def test_no_rows_and_no_good_rows(target):
    put(Output(target, "embeddings"), [])
    assert pyarrow.parquet.read_table(target).num_rows == 0
    put(Output(target, "embeddings"), [(Row("a.png", "no such file"), None)])
    assert pyarrow.parquet.read_table(target)["embedding"].to_pylist() == [None]


def test_row_groups_are_bounded(target):
    """By bytes: of 64 KiB each, 256 rows have 16 MiB."""
    data = np.ones((100, 16384), np.float32)
    tracemalloc.start()
    with Output(target, "embeddings").begin({}, batch_size=100) as run:
        for start in range(0, 1000, 100):
            run.write([Row(f"{start + index}.png") for index in range(100)], data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 2**20
    metadata = pyarrow.parquet.ParquetFile(target).metadata
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sum(rows) == 1000
    assert max(rows) <= 2 * columns.GROUP_BYTES // 65536
    assert len(rows) > 1


def test_without_pyarrow(target, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = r"a \.parquet file needs pyarrow: pip install 'r2n_kernels\[parquet\]'"
    with pytest.raises(ConfigError, match=told):
        Output(target, "classes")
