from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import tables
from r2n_kernels.sources.sample import Broken, Sample
from r2n_kernels.sources.tables import open_table

ROWS = 100


def content_of(row):
    return b"%d" % row * 50


@pytest.fixture(params=["parquet", "arrow"])
def path(request, tmp_path):
    """A table of 100 rows, in groups or batches of 30."""
    table = pa.table(
        {"image": [content_of(row) for row in range(ROWS)], "label": list(range(ROWS))}
    )
    path = tmp_path / f"t.{request.param}"
    if request.param == "parquet":
        pq.write_table(table, path, row_group_size=30, use_dictionary=False, compression="none")
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=30)
    return str(path)


def samples(path, first=0, step=1, **options):
    return list(open_table(path, **options).samples(first, step))


def test_rows(path):
    assert open_table(path).count == ROWS
    expected = [Sample(f"{path}#{row}", content_of(row)) for row in range(ROWS)]
    assert samples(path) == expected
    for first, step in ((0, 7), (29, 1), (30, 31), (99, 1), (100, 1), (250, 3)):
        assert samples(path, first, step) == expected[first::step]


def test_labels(path):
    assert [one.label for one in samples(path, 3, 40, labelled=True)] == [3, 43, 83]
    assert open_table(path, column="image").columns.names == ["image"]


def test_behind_a_url(path, memory):
    memory.pipe("/t.parquet", Path(path).read_bytes())
    if path.endswith(".arrow"):
        memory.mv("/t.parquet", "/t.arrow")
        with pytest.raises(ConfigError, match=r"'memory://t\.arrow': Arrow files .* local folders"):
            open_table("memory://t.arrow")
    else:
        assert samples("memory://t.parquet", 42)[0] == Sample(
            "memory://t.parquet#42", content_of(42)
        )


def test_names_that_are_not_utf8(path, tmp_path):
    foreign = Path(path).rename(tmp_path / f"caf\udce9{Path(path).suffix}")
    assert len(samples(str(foreign))) == ROWS


@pytest.mark.parametrize("path", ["parquet"], indirect=True)
def test_memory_is_that_of_a_few_rows(path, monkeypatch):
    """Skipped row groups are not read; of others, a few rows at once."""
    real = pq.ParquetFile.iter_batches
    read = []

    def iter_batches(self, size, groups, *args, **options):
        read.append((size, groups))
        return real(self, size, groups, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    assert len(samples(path, 65, 30)) == 2
    assert read == [(tables.ROWS, [2]), (tables.ROWS, [3])]


def test_a_large_row_group_is_not_read_at_once(tmp_path, monkeypatch):
    path = str(tmp_path / "t.parquet")
    table = pa.table({"image": [b"%d" % row * 1000 for row in range(3000)]})  # 11 MB
    pq.write_table(table, path, use_dictionary=False, compression="none", write_batch_size=16)
    sizes = []

    class Logged(io.FileIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    monkeypatch.setattr(tables, "open_binary", Logged)
    assert len(samples(path)) == 3000
    assert max(sizes) < 3 << 20


def test_what_opens_badly(path):
    whole = Path(path).read_bytes()
    for content in (b"", b"x" * 100, whole[:-900]):
        Path(path).write_bytes(content)
        with pytest.raises(ConfigError, match=r"^'.*t\.(parquet|arrow)': "):
            open_table(path)
    Path(path).unlink()
    with pytest.raises(ConfigError, match=r"^'.*t\.(parquet|arrow)': no such file$"):
        open_table(path)


def test_without_pyarrow(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    told = r"^'.*' needs pyarrow: pip install 'r2n_kernels\[parquet\]'$"
    with pytest.raises(ConfigError, match=told):
        open_table(path)


class TestDuringTheRun:
    """Every row that was counted gets its place, whatever becomes of the file."""

    def check(self, table, whole, first=0, step=1):
        found = list(table.samples(first, step))
        assert [one.name for one in found] == [
            f"{table.name}#{i}" for i in range(first, ROWS, step)
        ]
        for one, row in zip(found, range(first, ROWS, step), strict=True):
            assert one.source == content_of(row) if row in whole else isinstance(one.source, Broken)
        return found

    def test_file_is_gone(self, path):
        table = open_table(path)
        Path(path).unlink()
        found = self.check(table, ())
        assert {one.source.reason for one in found} == {"no such file"}
        self.check(table, (), 3, 7)

    def test_file_is_shorter(self, path):
        table = open_table(path)
        kept = pa.table({"image": [content_of(row) for row in range(40)]})
        if path.endswith(".parquet"):
            pq.write_table(kept, path)
        else:
            with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, kept.schema) as writer:
                writer.write_table(kept)
        found = self.check(table, range(40))
        assert "fewer rows" in found[-1].source.reason

    def test_file_is_longer(self, path, tmp_path):
        table = open_table(path)
        table.count = 50
        assert len(list(table.samples(0, 1))) == 50

    @pytest.mark.parametrize("path", ["parquet"], indirect=True)
    def test_a_damaged_group_is_not_the_end(self, path):
        chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
        content = bytearray(Path(path).read_bytes())
        content[chunk.data_page_offset : chunk.data_page_offset + 40] = b"\xff" * 40
        table = open_table(path)
        Path(path).write_bytes(content)
        self.check(table, [*range(30), *range(60, ROWS)])
        self.check(table, [*range(30), *range(60, ROWS)], 5, 9)

    @pytest.mark.parametrize("path", ["arrow"], indirect=True)
    def test_a_truncated_stream(self, path):
        table = open_table(path)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
        found = self.check(table, range(30))
        assert isinstance(found[-1].source, Broken)

    def test_the_file_is_closed(self, path, monkeypatch):
        table = open_table(path)
        opened = []
        real = tables.open_binary
        monkeypatch.setattr(
            tables, "open_binary", lambda name: opened.append(real(name)) or opened[-1]
        )
        with contextlib.closing(table.samples(0, 1)) as running:
            next(running)
            assert not opened[0].closed
        assert opened[0].closed
