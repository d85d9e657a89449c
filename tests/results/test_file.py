from __future__ import annotations

import logging
import os
import stat

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.results import EmbeddingWriter, RowWriter


def write(writer):
    if isinstance(writer, RowWriter):
        writer.write("a.png", [(3, "cat", 0.5)])
    else:
        writer.write("a.png", [1.0, 2.0])


WRITERS = [(RowWriter, "jsonl"), (RowWriter, "csv")]
WRITERS += [(EmbeddingWriter, "npz"), (EmbeddingWriter, "safetensors")]


@pytest.fixture(params=WRITERS, ids=lambda param: param[1])
def kind(request):
    return request.param[0]


@pytest.fixture
def target(request, kind, tmp_path):
    suffix = request.node.callspec.params["kind"][1]
    return tmp_path / f"out.{suffix}"


def test_appears_when_complete(kind, target):
    with kind(target) as writer:
        write(writer)
        assert not target.exists()
    assert os.listdir(target.parent) == [target.name]
    assert writer.partial is None


def test_replaces_an_earlier_result_at_the_end(kind, target):
    target.write_text("earlier")
    with kind(target) as writer:
        write(writer)
        assert target.read_text() == "earlier"
    assert b"earlier" not in target.read_bytes()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_run_keeps_its_rows(kind, target, error, caplog):
    with kind(target) as writer:
        write(writer)
    complete = target.read_bytes()
    target.write_text("earlier")
    writer = kind(target)

    def interrupted():
        with writer:
            write(writer)
            raise error

    with caplog.at_level(logging.WARNING), pytest.raises(error):
        interrupted()
    assert target.read_text() == "earlier"
    assert writer.partial == target.with_name(f"{target.name}.partial")
    assert len(writer.partial.read_bytes()) == len(complete)  # npz members carry the time
    assert sorted(os.listdir(target.parent)) == [target.name, writer.partial.name]
    assert f"ended early: rows kept in {str(writer.partial)!r}: 1" in caplog.text


def test_rows_of_an_earlier_interrupted_run_are_kept(kind, target):
    earlier = target.with_name(f"{target.name}.partial")
    earlier.write_text("earlier")
    writer = kind(target)
    writer.__enter__()
    write(writer)
    writer.__exit__(RuntimeError, RuntimeError(), None)
    assert earlier.read_text() == "earlier"
    assert writer.partial == target.with_name(f"{target.name}.partial2")
    assert writer.partial.exists()


def test_interrupted_before_the_first_row(kind, target):
    with pytest.raises(RuntimeError), kind(target) as writer:
        raise RuntimeError
    assert writer.partial is None
    assert os.listdir(target.parent) == []


def test_full_disk_at_the_end(kind, target, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    target.write_text("earlier")
    writer = kind(target)
    writer.__enter__()
    write(writer)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writer.__exit__(None, None, None)
    assert target.read_text() == "earlier"
    assert writer.partial.exists()


def test_link_stays_a_link(kind, target, tmp_path):
    real = tmp_path / "elsewhere"
    real.write_text("earlier")
    target.symlink_to(real)
    with kind(target) as writer:
        write(writer)
    assert target.is_symlink()
    assert b"earlier" not in real.read_bytes()


def test_permissions_are_those_of_any_new_file(kind, target, tmp_path):
    (tmp_path / "other").touch()
    with kind(target) as writer:
        write(writer)
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_suffix_in_capitals(kind, target):
    with kind(target.with_suffix(target.suffix.upper())) as writer:
        write(writer)
    assert os.listdir(target.parent) == [target.with_suffix(target.suffix.upper()).name]


def test_places_that_cannot_be_written(kind, target):
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file"):
        kind(target.parent / "missing" / target.name).__enter__()
    with pytest.raises(ConfigError, match=r"cannot write .*/': it is a folder"):
        kind(f"{target}{os.sep}")
    target.mkdir()
    with pytest.raises(ConfigError, match=r"cannot write .*: it is a folder"):
        kind(target)


@pytest.mark.parametrize("name", ["out.txt", "out", "out.jsonl.gz"])
def test_other_suffixes(name):
    with pytest.raises(ConfigError, match=r"its suffix must be one of \.jsonl, \.csv"):
        RowWriter(name)
    with pytest.raises(ConfigError, match=r"its suffix must be one of \.npz, \.safetensors"):
        EmbeddingWriter(name)
