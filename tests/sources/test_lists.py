from __future__ import annotations

import io
import os

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import lists
from r2n_kernels.sources.lists import read_list, split_names


@pytest.fixture(params=[1, 3, 1 << 16], autouse=True)
def chunk(request, monkeypatch):
    """What a pipe gives at once."""
    monkeypatch.setattr(lists, "CHUNK", request.param)


def names(content):
    return list(split_names(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a.jpg", ["a.jpg"]),
        (b"a.jpg\nb c.jpg\n\n  \n d.jpg ", ["a.jpg", "b c.jpg", " d.jpg "]),
        (b"a.jpg\r\nb.jpg\r\n\r\n", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg", ["a.jpg"]),
        (b"a.jpg\0b\nc.jpg\r\0 \0", ["a.jpg", "b\nc.jpg\r", " "]),
        (b"a.jpg\0b.jpg", ["a.jpg", "b.jpg"]),
        (b"caf\xe9\xff.png\n", [os.fsdecode(b"caf\xe9\xff.png")]),
        ("ü.png\n".encode(), ["ü.png"]),
    ],
)
def test_split(content, expected):
    assert names(content) == expected


def test_names_come_while_the_list_does(tmp_path):
    reader, writer = os.pipe()
    with open(reader, "rb") as file, open(writer, "wb", buffering=0) as pipe:
        found = split_names(file)
        pipe.write(b"a.jpg\n")
        assert next(found) == "a.jpg"
        pipe.write(b"b.jpg\n")
        assert next(found) == "b.jpg"


def test_no_list(monkeypatch):
    with pytest.raises(ValueError, match="a NUL in a line"):
        names(b"a\nb\0c\0")
    with pytest.raises(ValueError, match="UTF-16"):
        names("a.jpg\n".encode("utf-16"))
    monkeypatch.setattr(lists, "LONGEST", 100)
    with pytest.raises(ValueError, match="without an end of line"):
        names(b"x" * 200)


def test_errors_name_the_list(tmp_path):
    path = tmp_path / "list.txt"
    with pytest.raises(ConfigError, match=r"^list '.*list\.txt': no such file$"):
        list(read_list(str(path)))
    path.write_bytes(b"a\nb\0c\n")
    with pytest.raises(ConfigError, match=r"^list '.*list\.txt': a NUL in a line"):
        list(read_list(str(path)))
