from __future__ import annotations

import pytest

from r2n_kernels.errors import ImageError
from r2n_kernels.sources.sample import Broken
from r2n_kernels.sources.tar_labels import key_of, label_of
from r2n_kernels.sources.tar_members import members_of, open_tar


@pytest.mark.parametrize(
    ("name", "content", "label"),
    [
        ("1.cls", b"7", 7),
        ("1.cls", b" -7\n", -7),
        ("1.cls", b"tabby cat\n", "tabby cat"),
        ("1.cls", b"", None),
        ("1.cls", b"9" * 5000, "9" * 5000),
        ("1.JSON", b'{"label": 7, "x": []}', 7),
        ("1.json", b'{"label": "cat"}', "cat"),
        ("1.json", b'{"x": 1}', None),
        ("1.json", b"[1]", None),
        ("1.json", b'{"label": true}', "neither an integer nor text"),
        ("1.json", b'{"label": 1.5}', "neither an integer nor text"),
        ("1.json", b"{", "Expecting property name"),
        ("1.json", b"[" * 200_000, "maximum recursion"),
        ("1.cls", b"\xff", "'utf-8' codec can't decode"),
        ("1.cls", b"1" * 2000_000, "larger than 1 MiB"),
    ],
)
def test_label(make_tar, name, content, label):
    with open_tar(make_tar("a.tar", {name: content}), ImageError) as tar:
        (found,) = (label_of(tar, member) for member in members_of(tar))
    if isinstance(found, Broken):
        start = f"its label, {name!r}: {label}"
        assert found.reason.startswith(start)
    else:
        assert found == label


def test_a_damaged_archive_is_no_bad_label(make_tar, tmp_path):
    path = tmp_path / "a.tar"
    make_tar("a.tar", {"1.cls": b"1" * 600})
    path.write_bytes(path.read_bytes()[:700])
    with (
        open_tar(str(path), ImageError) as tar,
        pytest.raises(ImageError, match=r"damaged in '1\.cls'"),
    ):
        label_of(tar, next(members_of(tar)))


@pytest.mark.parametrize(
    ("name", "key"), [("a.jpg", "a"), ("a.b.jpg", "a"), ("x.y/a.jpg", "x.y/a"), (".a", "")]
)
def test_key(name, key):
    assert key_of(name) == key
