from __future__ import annotations

import dataclasses
import json
import multiprocessing
import threading

import pytest

from r2n_kernels.benchmarks.records import Record, append, read
from r2n_kernels.errors import RecordError


def test_what_was_appended_is_read(record, tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record)
    other = dataclasses.replace(record, batch=2, commit=None)
    append(path, other)
    found = read(path)
    assert found.records == (record, other)
    assert found.torn == ()
    assert json.loads(path.read_text().splitlines()[0])["schema"] == 2


def test_fields_that_came_later_may_be_lacking(record):
    """Older files are read; what has none of them is written as before."""
    line = json.loads(record.to_json())
    assert not {"wall", "host", "bytes_l2"} & line.keys()
    more = {"wall": ((0.2,), (0.1, 0.3)), "host": ((0.1,),), "bytes_l2": 7, "run": "1f",
            "code": "ab", "versions": {"python": "3.12.1"}, "labels": {"runner": "a"},
            "branch": "topic", "pull_request": 7}  # fmt: skip
    later = dataclasses.replace(record, **more)
    assert Record.from_json(later.to_json()) == later
    assert json.loads(later.to_json())["wall"] == [[0.2], [0.1, 0.3]]
    assert Record.from_json(json.dumps({**line, "wall": None})) == record


def test_a_torn_last_line_is_told_and_kept(record, tmp_path):
    path = tmp_path / "records.jsonl"
    append(path, record)
    whole = path.read_bytes()
    for length in range(1, len(record.to_json())):
        path.write_bytes(whole + record.to_json().encode()[:length])
        assert read(path).records == (record,)
        assert read(path).torn == (2,)
    torn = path.read_bytes()
    append(path, record)  # on a line of its own
    assert path.read_bytes().startswith(torn + b"\n")
    assert read(path).records == (record, record)
    assert read(path).torn == (2,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no record"),
        ("\n\n", "holds no record"),
        ("hello\n", "line 1: is no JSON"),
        ("[1]\n", "line 1: has no 'schema', so it is no record"),
        ('{"a": 1}\n', "line 1: has no 'schema'"),
        ('{"schema": 1}\n', "line 1: has another schema than 2"),
        ('{"schema": 2}\n', "line 1: lacks again, backend, batch"),
        ('{"schema": 2, "samples": [1,, 2]}\n', "line 1: is no JSON"),
    ],
)
def test_damaged_foreign_and_empty_files(text, message, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match=message):
        read(path)
    assert path.read_text() == text


def test_a_missing_file(tmp_path):
    with pytest.raises(RecordError, match=r"none\.jsonl: .*No such file"):
        read(tmp_path / "none.jsonl")


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="codec can't decode"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "'batch' must be a whole number from 1, got 0"),
        ({"batch": True}, "'batch' must be a whole number"),
        ({"subject": 3}, "'subject' must be text, got 3"),
        ({"samples": ()}, "'samples' is empty"),
        ({"wall": ((0.1, -1.0),)}, r"'wall' must be seconds, from 1e-12 to 1e.09, got -1\.0"),
        ({"host": 3}, "'host' must be a list of lists, got 3"),
        ({"bytes_l2": 1.5}, r"'bytes_l2' must be null or int, got 1\.5"),
        ({"samples": ((0.1, -1.0),)}, r"'samples' must be seconds, from 1e-12 to 1e.09, got -1\.0"),
        ({"again": ((float("nan"),),)}, "'again' must be seconds, from 1e-12 to 1e.09, got nan"),
        ({"samples": "12"}, "'samples' must be a list of lists"),
        ({"samples": (0.1,)}, r"'samples' must hold lists of seconds, got 0\.1"),
        ({"samples": ((),)}, "'samples' must hold lists of seconds"),
        ({"step": 3}, "'step' must be null or str, got 3"),
        ({"bytes": True}, "'bytes' must be null or int, got True"),
        ({"count": 0}, "'count' must be a whole number from 1, got 0"),
        ({"machine": []}, "'machine' must be an object"),
        ({"dirty": []}, r"'dirty' must be true or false, got \[\]"),
        ({"commit": 3}, "'commit' must be null or str, got 3"),
        ({"pull_request": "7"}, "'pull_request' must be null or int, got '7'"),
        ({"labels": {"runner": 1}}, "'labels' must hold texts, got 'runner': 1"),
        ({"parity": {"passed": False}}, "times of wrong outputs are not kept"),
    ],
)
def test_fields_are_checked(changes, message, record):
    with pytest.raises(RecordError, match=message):
        dataclasses.replace(record, **changes)


def test_unknown_fields_are_refused(record):
    line = json.dumps({**json.loads(record.to_json()), "extra": 1})
    with pytest.raises(RecordError, match="has unknown extra"):
        Record.from_json(line)


def test_writers_do_not_mix(record, tmp_path):
    """Two processes and two threads, long lines."""
    path = tmp_path / "records.jsonl"
    long = dataclasses.replace(record, samples=((0.123456789,) * 20,) * 100)
    start = multiprocessing.get_context("fork")
    workers = [start.Process(target=_write, args=(path, long)) for _ in range(2)]
    workers += [threading.Thread(target=_write, args=(path, long)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = read(path)
    assert found.records == (long,) * 80
    assert found.torn == ()


def _write(path, record):
    for _ in range(20):
        append(path, record)
