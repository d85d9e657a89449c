"""Nothing is lost: a process is killed at any moment, a disk is full, a power cut tears the files.

Runs are children of this process, made by fork: they write, and nothing else.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from r2n_kernels.results import Output, Row

from .conftest import put

BATCH, WIDTH = 8, 16


def rows_until(count: int) -> list[tuple[Row, list[float] | None]]:
    """Vectors that no two rows share; every fifth input fails, as do the first batches."""
    found = []
    for index in range(count):
        name = f"{index:06}" + "é" * (index % 3) + ".jpg"
        if index < 2 * BATCH or index % 5 == 0:
            found.append((Row(name, f"damaged image: {index}"), None))
        else:
            found.append((Row(name), [float(index * 100 + k) for k in range(WIDTH)]))
    return found


def child(run: Callable[[], None]) -> int:
    """Start a process that does this and nothing behind it; 0 is its code where all went well."""
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        run()
        code = 0
    except OSError:
        code = 2
    finally:
        os._exit(code)
    return 0


def code_of(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def wait(until: Callable[[], bool]) -> None:
    """Look again and again."""
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        time.sleep(0.001)


def kept(output: Output) -> int:
    """What a reader finds in the journal: whole lines, and as many vectors."""
    rows = (output.partial / "rows.jsonl").read_bytes().split(b"\n")[:-1]
    assert [json.loads(row)["path"] for row in rows]
    vectors = np.fromfile(output.partial / "vectors.bin", "<f4").reshape(-1, WIDTH)
    assert len(vectors) == len(rows)
    for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        error = json.loads(row)["error"]
        assert np.isnan(vector).all() if error else vector[0] == number * 100
    return len(rows)


@pytest.mark.parametrize("suffix", ["npz", "npy", "parquet"])
def test_killed_at_random_moments(tmp_path, suffix):
    data = rows_until(3001)
    whole, output = (Output(tmp_path / f"{name}.{suffix}", "embeddings") for name in ("a", "b"))
    put(whole, data, BATCH)
    chance = random.Random(suffix)  # other moments for each format
    rows = output.partial / "rows.jsonl"
    for share in sorted(chance.random() for _ in range(4)):
        number = child(lambda: put(output, data, BATCH, resume=True))
        wait(lambda size=int(share * 240_000): rows.exists() and rows.stat().st_size >= size)
        os.kill(number, signal.SIGKILL)
        assert code_of(number) == -signal.SIGKILL
    number = child(lambda: put(output, data, BATCH, resume=True))
    wait((output.partial / "whole.json").exists)
    time.sleep(chance.uniform(0, 0.1))  # in the conversion, or behind it
    os.kill(number, signal.SIGKILL)
    code_of(number)
    if not output.finished:
        assert code_of(child(lambda: put(output, data, BATCH, resume=True))) == 0
    assert output.place.target.read_bytes() == whole.place.target.read_bytes()
    names = {"a", "b"} | ({"a.npy.rows", "b.npy.rows"} if suffix == "npy" else set())
    assert {path.stem for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("limit", [3_000, 20_011, 100_003, 192_512])
def test_a_file_that_may_not_grow(tmp_path, limit):
    """The kernel refuses the first byte behind it, as a full disk does, in the midst of a batch."""
    data = rows_until(3001)
    output = Output(tmp_path / "out.npz", "embeddings")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        put(output, data, BATCH)

    assert code_of(child(limited)) == 2
    assert not output.finished
    if output.partial.exists():  # where not even a batch fitted, nothing is left
        count = kept(output)
        assert count == 3001 if limit == 192_512 else count % BATCH == 0
    put(output, data, BATCH, resume=True)
    check(output, data)


def check(output: Output, data) -> None:
    with np.load(output.place.target) as file:
        assert file["paths"].tolist() == [row.path for row, _ in data]
        expected = np.array([vector or [np.nan] * WIDTH for _, vector in data], np.float32)
        np.testing.assert_array_equal(file["embeddings"], expected)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few pages."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "r2n-test", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a file system, and not everywhere")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_full_disk(small_disk, tmp_path, suffix, caplog):
    """In the midst of a batch, and where only the conversion does not fit."""
    data = rows_until(10_000)
    output = Output(small_disk / f"out.{suffix}", "embeddings")
    with pytest.raises(OSError, match="No space left on device") as full:
        put(output, data, BATCH)
    assert full.value.filename.startswith(str(output.partial))
    count = kept(output)
    assert f"ended early: {count} rows kept in '{output.partial}'" in caplog.text
    assert 0 < count < len(data)
    caplog.clear()
    with pytest.raises(OSError, match="No space left on device"):
        put(output, data[:count], BATCH, resume=True)
    assert kept(output) == count
    assert f"ended early: {count} rows kept in '{output.partial}'" in caplog.text
    assert sorted(os.listdir(small_disk)) == [output.partial.name]
    larger = ["mount", "-o", "remount,size=2m", str(small_disk)]
    subprocess.run(larger, check=True)
    put(output, data[:count], BATCH, resume=True)
    if suffix == "parquet":
        content = pyarrow.BufferReader(output.place.target.read_bytes())
        assert pyarrow.parquet.read_table(content).num_rows == count
    else:
        check(output, data[:count])


def tear_line(folder) -> None:
    with open(folder / "rows.jsonl", "ab") as file:
        file.write(b'{"path": "torn')


def zeros(folder) -> None:
    """Some file systems know a file's new size before its new contents are on the disk."""
    with open(folder / "rows.jsonl", "ab") as file:
        file.write(bytes(4096) + b'"}\n')


def shorter_rows(folder) -> None:
    os.truncate(folder / "rows.jsonl", os.path.getsize(folder / "rows.jsonl") // 2)


def shorter_vectors(folder) -> None:
    os.truncate(folder / "vectors.bin", os.path.getsize(folder / "vectors.bin") // 2 + 1)


def longer_vectors(folder) -> None:
    with open(folder / "vectors.bin", "ab") as file:
        file.write(bytes(999))


def no_vectors(folder) -> None:
    (folder / "vectors.json").unlink()
    os.truncate(folder / "vectors.bin", 0)


@pytest.mark.parametrize(
    "tear", [tear_line, zeros, shorter_rows, shorter_vectors, longer_vectors, no_vectors]
)
@pytest.mark.parametrize("whole", [False, True])
def test_torn_files(tmp_path, tear, whole, monkeypatch):
    data = rows_until(101)
    output = Output(tmp_path / "out.npz", "embeddings")
    with pytest.raises(RuntimeError):
        put(output, data, BATCH, stop=96)
    if whole:
        monkeypatch.setattr(Output, "_convert", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            put(output, data, BATCH, resume=True)
        monkeypatch.undo()
    tear(output.partial)
    with output.begin({"model": "m"}, resume=True, batch_size=BATCH) as run:
        behind = dict.fromkeys((tear_line, zeros, longer_vectors), 101 if whole else 96)
        assert run.rows == {**behind, no_vectors: 16}.get(tear, run.rows)
        assert run.rows == 101 or run.rows % BATCH == 0
        names = [record["path"] for record in run.records()]
        assert names == [row.path for row, _ in data[: run.rows]]
        assert run.rows == 16 or kept(output) == run.rows  # those failed, and have no vectors yet
        for start in range(run.rows, len(data), BATCH):
            part = data[start : start + BATCH]
            good = [vector for _, vector in part if vector]
            run.write([row for row, _ in part], np.array(good, "f4") if good else None)
    check(output, data)


def test_the_disk_is_asked_once_a_second_at_most(tmp_path, monkeypatch):
    asked, now = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    output = Output(tmp_path / "out.npz", "embeddings")
    with output.begin({}, batch_size=1) as run:
        monkeypatch.setattr(os, "fsync", lambda number: asked.append(number))
        for index in range(100):
            now[0] += 0.1
            run.write([Row(f"{index}")], np.ones((1, 4), "f4"))
        monkeypatch.undo()
    assert 2 * 9 <= len(asked) <= 2 * 10 + 1  # two files, and the folder as vectors begin
