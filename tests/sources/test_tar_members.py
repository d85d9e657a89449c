from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from r2n_kernels.errors import ConfigError, ImageError
from r2n_kernels.sources import files, tar_members
from r2n_kernels.sources.tar_members import Unusable, content_of, members_of, open_tar

MEMBERS = {f"{i}.jpg": bytes([i]) * 700 for i in range(4)}  # a header and two blocks each: 1,536 B


class Pipe(io.BytesIO):
    """Bytes that come once, as over HTTP without a length."""

    def seekable(self):
        return False

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")

    tell = seek


def read(name):
    """Every member's name and content, and how it ended."""
    found = {}
    try:
        with open_tar(name, ImageError) as tar:
            for member in members_of(tar):
                found[member.name] = content_of(tar, member, 1 << 20)
    except ImageError as error:
        return found, str(error)
    return found, None


@pytest.fixture(params=["file", "pipe"])
def way(request, monkeypatch):
    if request.param == "pipe":
        monkeypatch.setattr(tar_members, "open_binary", lambda name: Pipe(Path(name).read_bytes()))


@pytest.mark.usefixtures("way")
class TestRead:
    @pytest.mark.parametrize(
        "format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
    )
    @pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "A.TAR.GZ"])
    def test_whole(self, make_tar, name, format):
        assert read(make_tar(name, MEMBERS, format)) == (MEMBERS, None)

    def test_long_and_foreign_names(self, make_tar):
        members = {"d/" * 100 + "a.jpg": b"1", "caf\udce9.jpg": b"2", "ü.jpg": b"3"}
        for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            assert read(make_tar("a.tar", members, format)) == (members, None)

    @pytest.mark.parametrize(
        ("size", "members", "reason"),
        [
            (4 * 1536, 4, "damaged after 4 members: truncated: no end mark"),
            (4 * 1536 + 100, 4, "damaged after 4 members: truncated: no end mark"),
            (3 * 1536 + 100, 3, "damaged after 3 members: truncated: no end mark"),
            (3 * 1536 + 512 + 300, 3, "damaged in '3.jpg': unexpected end of data"),
            (100, 0, "truncated: no end mark"),
            (0, 0, "truncated: no end mark"),
        ],
    )  # fmt: skip
    def test_truncated(self, make_tar, size, members, reason):
        path = Path(make_tar("a.tar", MEMBERS))
        path.write_bytes(path.read_bytes()[:size])
        found, told = read(str(path))
        assert found == dict(list(MEMBERS.items())[:members])
        assert told == reason

    def test_damaged_header(self, make_tar):
        path = Path(make_tar("a.tar", MEMBERS))
        content = bytearray(path.read_bytes())
        content[2 * 1536] ^= 1  # tarfile alone takes it for the archive's end
        path.write_bytes(content)
        assert read(str(path)) == (
            dict(list(MEMBERS.items())[:2]), "damaged after 2 members: bad checksum"
        )  # fmt: skip

    def test_damaged_gzip(self, make_tar):
        path = Path(make_tar("a.tar.gz", MEMBERS))
        path.write_bytes(path.read_bytes()[:-20])
        found, told = read(str(path))
        assert list(found.items()) == list(MEMBERS.items())[: len(found)]
        assert "ended before the end-of-stream marker" in told

    def test_what_is_no_archive(self, tmp_path):
        (tmp_path / "a.tar").write_bytes(b"x" * 2000)
        assert read(str(tmp_path / "a.tar")) == ({}, "invalid header")
        (tmp_path / "a.tgz").write_bytes(b"x" * 2000)
        assert "gzip" in read(str(tmp_path / "a.tgz"))[1]


def test_errors_of_the_callers_kind(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"^shard: no such file$"),
        open_tar(str(tmp_path / "a.tar"), ConfigError, "shard: "),
    ):
        pass


def test_unusable_members(make_tar):
    link, hard, pipe = (tarfile.TarInfo(f"{kind}.jpg") for kind in ("link", "hard", "pipe"))
    link.type, hard.type, pipe.type = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
    link.linkname = hard.linkname = "/etc/passwd"
    members = {"link": link, "hard": hard, "pipe": pipe, "large.jpg": b"1" * (2 << 20)}
    reasons = []
    with open_tar(make_tar("a.tar", members), ImageError) as tar:
        for member in members_of(tar):
            with pytest.raises(Unusable) as told:
                content_of(tar, member, 1 << 20)
            reasons.append(str(told.value))
    links = ["a link in the archive"] * 2
    assert reasons == [*links, "not a regular file", "larger than 1 MiB"]


def test_a_header_that_would_fill_the_memory(tmp_path):
    """Its 1 GB of attributes take a megabyte of gzip."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(b"0" * (1 << 20))
    assert read(str(tmp_path / "a.tgz")) == ({}, "a header that is too long")


def test_memory_of_many_members(make_tar):
    path = make_tar("a.tar", {f"{i}.jpg": b"" for i in range(3000)})
    with open_tar(path, ImageError) as tar:
        tracemalloc.start()
        try:
            assert sum(1 for _ in members_of(tar)) == 3000
            assert tracemalloc.get_traced_memory()[1] < 300_000  # all of them take 2 MB
        finally:
            tracemalloc.stop()


def test_files_are_closed(make_tar, monkeypatch):
    opened = []

    def opening(name):
        opened.append(files.open_binary(name))
        return opened[-1]

    monkeypatch.setattr(tar_members, "open_binary", opening)
    read(make_tar("a.tgz", MEMBERS))
    with contextlib.suppress(ImageError):
        read(make_tar("b.tar", {"a": b""}))
    assert [file.closed for file in opened] == [True, True]
