from __future__ import annotations

import os
import sys

import pytest

from r2n_kernels.errors import ConfigError, ImageError
from r2n_kernels.sources import files
from r2n_kernels.sources.files import (
    entries_of,
    failing_as,
    has_suffix,
    is_remote_folder,
    match_remote,
    open_binary,
    protocol_of,
    reason_of,
    remote_entries_of,
    size_of,
)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("s3://b/a.jpg", "s3"), ("HTTPS://h/a", "https"), ("zip://*::file:///a.zip", "zip"),
     ("a.jpg", None), ("a://", "a"), ("/a://b", None), ("C:/a", None), ("1x://a", None)],
)  # fmt: skip
def test_protocol(name, protocol):
    assert protocol_of(name) == protocol


@pytest.mark.parametrize(
    ("name", "told"),
    [("a.TAR", True), ("a.tar.gz", True), ("a.gz", False), ("https://h/a.tar?sig=1", True),
     ("a.tar?sig=1", False), ("https://h/a?x=.tar", False)],
)  # fmt: skip
def test_suffix(name, told):
    assert has_suffix(name, (".tar", ".tar.gz")) is told


def test_a_missing_package_is_named(monkeypatch):
    with pytest.raises(ConfigError, match=r"^'nope://x' cannot be read here: Protocol not known"):
        files.filesystem("nope://x")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"^'s3://x' cannot be read here: Install s3fs"):
        files.filesystem("s3://x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigError, match=r"^'memory://x' needs fsspec: pip install fsspec$"):
        files.filesystem("memory://x")


def test_open_and_size(tmp_path, memory):
    memory.pipe("/a.txt", b"12")
    (tmp_path / "a").write_bytes(b"123")
    for name, content in (("memory://a.txt", b"12"), (str(tmp_path / "a"), b"123")):
        with open_binary(name) as file:
            assert file.read() == content
    assert size_of(str(tmp_path / "a")) == 3
    assert size_of("memory://a.txt") is None


def test_entries(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").touch()
    os.symlink("sub", tmp_path / "link")
    os.symlink("nowhere", tmp_path / "broken")
    os.symlink("circle", tmp_path / "circle")
    found = sorted(entries_of(f"{tmp_path}/"))
    assert found == [("a", False), ("broken", False), ("circle", False), ("sub", True)]
    with pytest.raises(FileNotFoundError):
        list(entries_of(f"{tmp_path}/none/"))


def test_remote_entries(memory):
    memory.pipe({"/d/a.jpg": b"", "/d/sub/b.jpg": b""})
    assert sorted(remote_entries_of("memory://d/")) == [("a.jpg", False), ("sub", True)]
    assert ("d", True) in remote_entries_of("memory://")
    with pytest.raises(FileNotFoundError):
        list(remote_entries_of("memory://none/"))


def test_is_remote_folder(memory, monkeypatch):
    memory.pipe("/d/a.jpg", b"")
    assert is_remote_folder("memory://d")
    assert is_remote_folder("memory://none/")
    assert not is_remote_folder("memory://none")
    assert not is_remote_folder("zip://d::memory://a.zip")
    monkeypatch.setattr(files, "filesystem", lambda url: (None, url))
    assert not is_remote_folder("https://h/photo?id=3")  # nothing is asked


def test_match_remote(memory):
    memory.pipe({"/d/a.jpg": b"", "/d/b.jpg": b"", "/d/sub/c.jpg": b"", "/d/[x].jpg": b""})
    assert sorted(match_remote("memory://d/?.jpg")) == ["memory:///d/a.jpg", "memory:///d/b.jpg"]
    assert len(match_remote("memory://d/*")) == 3  # files only
    assert match_remote("memory://d/[x].jpg") == ["memory://d/[x].jpg"]


def test_match_in_an_archive(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/a.jpg", b"1")
    (name,) = match_remote(f"zip://d/*.jpg::file://{tmp_path}/a.zip")
    assert files.fetch(name) == b"1"


def test_failing_as():
    with pytest.raises(ImageError, match=r"^what: KeyError$"), failing_as(ImageError, "what: "):
        raise KeyError
    with pytest.raises(ImageError, match=r"^told$"), failing_as(ImageError, "what: "):
        raise ImageError("told")
    with pytest.raises(ImageError, match=r"^s3fs$"), failing_as(ImageError):
        raise ConfigError("s3fs")


def test_reason():
    assert reason_of(FileNotFoundError(2, "No such file or directory", "x")) == "no such file"
    assert reason_of(PermissionError(13, "Permission denied", "x")) == "permission denied"
    assert reason_of(OSError("first\nsecond")) == "first"
    assert reason_of(EOFError()) == "EOFError"
