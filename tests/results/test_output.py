"""An output appears whole, or its rows stay in FILE.partial; a later run goes on from there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading

import numpy as np
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import Output, Row, check_names
from r2n_kernels.results import output as module

from .conftest import put

FORMATS = [
    ("classes", "jsonl", None),
    ("classes", "csv", None),
    ("classes", "parquet", "float16"),
    ("embeddings", "npz", "float32"),
    ("embeddings", "npy", "float32"),
    ("embeddings", "safetensors", "float16"),
    ("embeddings", "parquet", "float32"),
]
EXAMPLES = [FORMATS[0], FORMATS[4]]  # where the format does not matter


def output_of(tmp_path, kind, suffix, vectors, **options):
    return Output(tmp_path / f"out.{suffix}", kind, topk=2, vectors=vectors, **options)


def fitting(output, data):
    """Rows of an embedding have no classes."""
    return data if output.kind == "classes" else [(Row(row.path, row.error), v) for row, v in data]


@pytest.fixture(params=FORMATS, ids=lambda param: f"{param[0]} {param[1]}")
def output(request, tmp_path):
    return output_of(tmp_path, *request.param)


@pytest.fixture(params=EXAMPLES, ids=lambda param: f"{param[0]} {param[1]}")
def example(request, tmp_path):
    return output_of(tmp_path, *request.param)


def content(output) -> list[bytes]:
    return [path.read_bytes() for path in sorted(output.place.target.parent.glob("out.*"))]


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_bytes(output, many, caplog):
    data, target = fitting(output, many), output.place.target
    put(output, data)
    once = content(output)
    for path in target.parent.iterdir():
        path.write_text("earlier")
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match="stopped"):
        put(output, data, stop=20)
    assert target.read_text() == "earlier"
    assert f"ended early: 20 rows kept in '{output.partial}'; go on with --resume" in caplog.text
    assert len((output.partial / "rows.jsonl").read_bytes().splitlines()) == 20
    with pytest.raises(ConfigError, match=r"partial' keeps 20 rows of .*: go on with --resume"):
        put(output, data)
    assert not output.finished
    with pytest.raises(RuntimeError, match="stopped"):
        put(output, data, stop=40, resume=True)
    put(output, data, resume=True)
    assert content(output) == once
    assert not output.partial.exists()
    assert output.finished
    with pytest.raises(ConfigError, match=r"--resume: '.*out\.\w+' is complete already"):
        put(output, data, resume=True)


def test_resume_with_nothing_to_go_on_from_begins(example, many):
    put(example, fitting(example, many), resume=True)
    assert example.finished


def test_no_row_leaves_nothing(example):
    with pytest.raises(RuntimeError), example.begin({}):
        raise RuntimeError
    assert list(example.partial.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({"dtype": "float32"}, {"dtype": "bfloat16"}, "dtype float32, this run has bfloat16"),
        ({"a": 1}, {"a": 1, "size": [2, 3]}, r"size null, this run has \[2, 3\]"),
        ({"weights": "ab" * 99}, {"weights": "c"}, r"weights (ab){40}\.\.\., this run has c"),
    ],
)
def test_another_run_is_refused_by_what_differs(example, many, then, now, told):
    data = fitting(example, many)
    with pytest.raises(RuntimeError):
        put(example, data, stop=8, identity=then)
    before = {path.name: path.read_bytes() for path in example.partial.iterdir()}
    with pytest.raises(ConfigError, match=f"--resume: .*partial' was begun with {told}$"):
        put(example, data, resume=True, identity=now)
    with pytest.raises(ConfigError, match=r"was begun with --batch-size 4, this run has 5$"):
        put(example, data, 5, resume=True, identity=then)
    assert {path.name: path.read_bytes() for path in example.partial.iterdir()} == before
    put(example, data, resume=True, identity=then)


def test_options_belong_to_the_run(tmp_path, many):
    first = Output(tmp_path / "out.parquet", "classes", topk=2, vectors="float32")
    with pytest.raises(RuntimeError):
        put(first, many, stop=8)
    for options, told in (({"topk": 3, "vectors": "float32"}, "topk 2, this run has 3"),
                          ({"topk": 2}, "vectors float32, this run has null")):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            put(Output(tmp_path / "out.parquet", "classes", **options), many, resume=True)


def test_other_inputs_are_refused_by_name(example, many):
    data = fitting(example, many)
    names = [row.path for row, _ in data]
    with pytest.raises(RuntimeError):
        put(example, data, stop=8)
    with example.begin({"model": "m"}, resume=True, batch_size=4) as run:
        inputs = iter(names)
        check_names(run, inputs)
        assert next(inputs) == names[8]  # it takes no more than it needs
        other = [*names[:5], "b.jpg", *names[6:]]
        with pytest.raises(ConfigError, match=r"row 6 .* is '0005\.png', .* now have 'b\.jpg'"):
            check_names(run, other)
        with pytest.raises(ConfigError, match=r"row 6 .* is '0005\.png', the inputs end there"):
            check_names(run, names[:5])


def test_a_second_run_waits_for_none(example, many):
    data = fitting(example, many)
    with example.begin({}, batch_size=4) as run:
        run.write([row for row, _ in data[:1]])
        for resume in (False, True):
            with pytest.raises(ConfigError, match=r"another run holds '.*\.partial'"):
                put(example, data, resume=resume)
    assert example.finished


def test_a_file_system_without_locks(example, many, monkeypatch, caplog):
    def lacking(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for module_, name in ((fcntl, "flock"), (os, "fsync")):
        monkeypatch.setattr(module_, name, lacking)
    with pytest.raises(OSError, match="not implemented"):  # of files, though, all can be asked
        put(example, fitting(example, many))
    monkeypatch.setattr(os, "fsync", lambda number: None)
    put(example, fitting(example, many))
    assert example.finished
    assert "partial' is not locked (Function not implemented): begin no second run" in caplog.text


def test_two_files_in_a_folder(tmp_path, many):
    first, second = (Output(tmp_path / f"{name}.csv", "classes") for name in "ab")
    with first.begin({}, batch_size=50) as run:
        put(second, many)
        run.write([row for row, _ in many])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "b.csv"]


@pytest.mark.parametrize("make", ["file", "folder", "row"])
def test_what_is_in_the_way_stays(example, many, make):
    if make == "file":
        example.partial.write_text("mine")
    else:
        example.partial.mkdir()
        name = {"folder": "notes.txt", "row": "rows.jsonl"}[make]
        (example.partial / name).write_text("mine")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"\.partial' is in the way: no run of r2n made it"):
            put(example, fitting(example, many), resume=resume)
    assert os.listdir(example.partial.parent) == [example.partial.name]


def test_rows_of_nobody_are_not_touched(example, many):
    with pytest.raises(RuntimeError):
        put(example, fitting(example, many), stop=8)
    (example.partial / "run.json").write_text('{"torn')
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"run\.json' is damaged"):
            put(example, fitting(example, many), resume=resume)
    assert (example.partial / "rows.jsonl").stat().st_size


def test_a_conversion_that_fails_is_made_by_resume(output, many, monkeypatch, caplog):
    data = fitting(output, many)
    output.place.target.write_text("earlier")

    @contextlib.contextmanager
    def full(place, temporary):
        with open(temporary, "wb") as file:
            yield file
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replacing", full)
    with pytest.raises(OSError, match="No space left"):
        put(output, data)
    assert f"ended early: 50 rows kept in '{output.partial}'" in caplog.text
    monkeypatch.undo()
    assert output.place.target.read_text() == "earlier"
    with output.begin({"model": "m"}, resume=True, batch_size=4) as run:
        assert run.rows == 50  # no multiple of 4, but all of them
    put(output, data, identity={})
    assert output.finished


def test_a_whole_journal_takes_no_more(example, many, monkeypatch):
    data = fitting(example, many)
    monkeypatch.setattr(Output, "_convert", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put(example, data)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"partial' is whole with 50 rows, and the inputs"):
        put(example, [*data, *data], resume=True)
    put(example, data, resume=True)
    assert example.finished


def test_batches(example, many):
    rows = [row for row, _ in fitting(example, many)][:1]
    with example.begin({}, batch_size=2) as run:
        with pytest.raises(ValueError, match="batches have 2 rows"):
            run.write(rows * 3)
        run.write(rows)
        with pytest.raises(ValueError, match="the last one may have less"):
            run.write(rows)


def test_vectors_that_do_not_fit(tmp_path):
    output = Output(tmp_path / "out.npz", "embeddings", vectors="float16")
    rows = [Row("a"), Row("b", "bad")]
    with output.begin({}, batch_size=2) as run:
        with pytest.raises(ValueError, match="rows without an error need vectors"):
            run.write(rows)
        for wrong in (np.ones((2, 3)), np.ones(1), np.float32(1)):
            with pytest.raises(ValueError, match="vectors of shape"):
                run.write(rows, wrong)
        with pytest.raises(ConfigError, match="a vector has 70000, which float16 cannot hold"):
            run.write(rows, np.array([[1.0, 7e4]]))
        run.write(rows, np.array([[1.0, np.inf]]))
        with pytest.raises(ValueError, match=r"vectors of shape \(1, 3\), expected \(1, 2\)"):
            run.write(rows, np.ones((1, 3)))
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["embeddings"], [[1, np.inf], [np.nan] * 2])
    with (
        Output(tmp_path / "out.csv", "classes").begin({}) as run,
        pytest.raises(ValueError, match="vectors were not announced"),
    ):
        run.write(rows[:1], np.ones((1, 1)))


def test_link_and_mode_stay(output, many, tmp_path):
    real = tmp_path / "elsewhere"
    real.write_text("earlier")
    real.chmod(0o640)
    output.place.target.symlink_to(real)
    output = output_of(tmp_path, output.kind, output.suffix[1:], output.vectors)
    put(output, fitting(output, many))
    assert os.path.islink(output.path)
    assert b"earlier" not in real.read_bytes()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("out.txt", {}, r"its suffix must be one of \.csv, \.jsonl, \.parquet$"),
        ("out", {}, "its suffix must be one of"),
        ("out.csv.gz", {}, "its suffix must be one of"),
        ("out.npz", {}, "its suffix must be one of"),
        ("out.csv", {"kind": "embeddings"}, r"one of \.npz, \.npy, \.safetensors, \.parquet$"),
        ("out.jsonl", {"vectors": "float32"}, r"all probabilities go into \.parquet or \.npz"),
        ("out.jsonl", {"bom": True}, r"only a \.csv has"),
        ("out.parquet", {"names": "percent"}, r"only a \.csv has"),
        ("out.csv", {"names": "hex"}, "names are written as bytes or percent, not 'hex'"),
        ("no/out.csv", {}, "cannot write 'no/out.csv': there is no such folder"),
        ("out.csv/", {}, "it is a folder"),
        ("in.csv", {"inputs": ["a.jpg", "./in.csv"]}, "it is one of the inputs"),
        ("in.npy", {"kind": "embeddings", "inputs": ["in.npy.rows.jsonl"]}, "one of the inputs"),
        ("null.csv", {}, "it is a device"),
        ("pipe.parquet", {}, r"a stream takes only classes, as \.csv or \.jsonl"),
        ("pipe.parquet", {"vectors": "float32"}, "a stream takes only classes"),
        ("/dev/stdout", {"kind": "embeddings"}, "a stream takes only classes"),
    ],
)
def test_refused(tmp_path, monkeypatch, name, options, told):
    monkeypatch.chdir(tmp_path)
    for each in ("in.csv", "in.npy.rows.jsonl"):
        (tmp_path / each).touch()
    os.mkfifo("pipe.parquet")
    if name == "null.csv":
        try:
            os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes device nodes")
    before = sorted(os.listdir())
    with pytest.raises(ConfigError, match=told):
        Output(name, options.pop("kind", "classes"), **options)
    assert sorted(os.listdir()) == before


def test_suffix_in_capitals(tmp_path, many):
    put(Output(tmp_path / "OUT.CSV", "classes"), many)
    assert os.listdir(tmp_path) == ["OUT.CSV"]


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.jsonl", "pipe"])
def test_a_pipe_gets_finished_batches(tmp_path, many, name):
    pipe, target = tmp_path / name, tmp_path / f"out{os.path.splitext(name)[1] or '.jsonl'}"
    os.mkfifo(pipe)
    put(Output(target, "classes", topk=2), many)
    seen, got = threading.Event(), []

    def read():
        with open(pipe, "rb", buffering=0) as file:
            while data := file.read(1 << 16):
                got.append(data)
                if b"0003.png" in b"".join(got):
                    seen.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    output = Output(pipe, "classes", topk=2)
    with output.begin({}, batch_size=4) as run:
        assert (run.rows, list(run.records())) == (0, [])
        run.write([row for row, _ in many[:4]])
        assert seen.wait(10)
        run.write([row for row, _ in many[4:]])
    reader.join(10)
    assert b"".join(got) == target.read_bytes()
    assert pipe.is_fifo()
    with pytest.raises(ConfigError, match=r"--resume: .* keeps no rows, as a file would"):
        put(output, many, resume=True)


def test_a_descriptor_is_appended_to(tmp_path, many):
    with open(tmp_path / "log", "ab") as file:
        file.write(b"before\n")
        file.flush()
        put(Output(f"/dev/fd/{file.fileno()}", "classes", topk=2), many)
    put(Output(tmp_path / "out.jsonl", "classes", topk=2), many)
    assert (tmp_path / "log").read_bytes() == b"before\n" + (tmp_path / "out.jsonl").read_bytes()
