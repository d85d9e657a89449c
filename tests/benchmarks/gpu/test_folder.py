from __future__ import annotations

import errno
import tarfile

import pytest

from r2n_kernels.benchmarks.gpu import folder as folders
from r2n_kernels.benchmarks.gpu.folder import Folder, claim


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "some/where/x.json")


def names(path) -> list[str]:
    with tarfile.open(path) as archive:
        return sorted(archive.getnames())


def test_two_runs_into_one_folder(tmp_path):
    out = tmp_path / "a" / "out"
    assert [claim(out) for _ in range(3)] == [out, out / "run-2", out / "run-3"]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        claim(tmp_path / "file")


def test_few_files_are_left(folder):
    folder.save("summary.txt", "short\n")
    folder.save_json("probe.json", {"a": 1})
    folder.records.write_text("{}\n")
    folder.log("bench").write(b"line\n")
    folder.pack()
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["logs.tgz", "records.jsonl", "records.tgz", "summary.txt"]
    assert names(folder.path / "records.tgz") == ["probe.json", "records.jsonl"]
    assert names(folder.path / "logs.tgz") == ["bench.log"]


def test_a_full_disk_is_told_once(folder, monkeypatch, capsys):
    monkeypatch.setattr(folders, "write_text", full)
    folder.save_json("x.json", {})
    folder.save_json("y.json", {})
    told = "cannot write parts/x.json: No space left on device; the run goes on without it\n"
    assert capsys.readouterr().out == told


def test_files_stay_where_an_archive_has_no_room(folder, monkeypatch, capsys):
    folder.save_json("probe.json", {"a": 1})
    monkeypatch.setattr(folders, "archive", full)
    folder.pack()
    assert (folder.parts / "probe.json").exists()
    assert "No space left" in capsys.readouterr().out


def test_output_that_is_gone(folder, monkeypatch, capsys):
    monkeypatch.setattr("builtins.print", _print_to_a_full_disk(print))
    folder.tell("a line")
    assert capsys.readouterr().err == "a line\n"


def _print_to_a_full_disk(really):
    def to(*args, file=None, **kwargs):
        if file is None:
            full()
        really(*args, file=file, **kwargs)

    return to


def test_a_log_begins_anew(folder):
    folder.log("a").write(b"old\n")
    Folder(folder.path).log("a").write(b"new\n")
    assert (folder.logs / "a.log").read_text() == "new\n"
