from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import tar_members, tars
from r2n_kernels.sources.sample import Broken, Sample
from r2n_kernels.sources.tars import Tar

MEMBERS = {
    "d/": tarfile.TarInfo("d.jpg/"),
    "a.jpg": b"a",
    "a.txt": b"t",
    "d/b.PNG": b"b",
    "c.jpg": b"c",
}


def samples(path, first=0, step=1, labelled=False):
    return list(Tar(path, labelled).samples(first, step))


@pytest.fixture
def path(make_tar):
    MEMBERS["d/"].type = tarfile.DIRTYPE
    return make_tar("a.tar", MEMBERS)


def test_images_in_the_members_order(path):
    assert samples(path) == [
        Sample(f"{path}/a.jpg", b"a"),
        Sample(f"{path}/d/b.PNG", b"b"),
        Sample(f"{path}/c.jpg", b"c"),
    ]


@pytest.mark.parametrize("labelled", [False, True])
def test_what_is_not_picked_is_not_read(path, monkeypatch, labelled):
    read = []
    real = tar_members.content_of
    monkeypatch.setattr(
        tars, "content_of", lambda tar, one, most: read.append(one.name) or real(tar, one, most)
    )
    assert [one.source for one in samples(path, 1, 2, labelled)] == [b"b"]
    assert read == ["d/b.PNG"]
    assert samples(path, 7) == []


def test_the_number_is_returned(path):
    generator = Tar(path, False).samples(9, 1)
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == 3


@pytest.mark.parametrize("labelled", [False, True])
def test_damage_is_one_row(make_tar, labelled):
    path = Path(make_tar("a.tar", MEMBERS | {"z.jpg": b"z" * 600}))
    path.write_bytes(path.read_bytes()[: 9 * 512 + 512 + 100])
    *whole, last = samples(str(path), labelled=labelled)
    assert [one.source for one in whole] == [b"a", b"b", b"c"]
    assert last == Sample(str(path), Broken("damaged in 'z.jpg': unexpected end of data"))
    assert samples(str(path), 3, 4, labelled) == [last]
    assert samples(str(path), 2, 4, labelled) == [whole[2]]


def test_no_image(make_tar):
    path = make_tar("a.tar", {"a.txt": b""})
    assert samples(path) == [Sample(path, Broken("no image in the archive"))]


def test_unusable_images_are_rows(make_tar, monkeypatch):
    monkeypatch.setattr(tars, "MOST", 1 << 20)
    link = tarfile.TarInfo("l.jpg")
    link.type = tarfile.SYMTYPE
    path = make_tar("a.tar", {"a.jpg": b"1" * (2 << 20), "l.jpg": link, "b.jpg": b"b"})
    sources = [Broken("larger than 1 MiB"), Broken("a link in the archive"), b"b"]
    assert [one.source for one in samples(path)] == sources


class TestLabels:
    def labels(self, path, **picked):
        return [(Path(one.name).name, one.label) for one in samples(path, labelled=True, **picked)]

    def test_in_any_order(self, make_tar):
        path = make_tar(
            "a.tar",
            {"1.jpg": b"", "1.cls": b"3\n", "d/2.cls": b"-1", "d/2.jpg": b"", "3.png": b"",
             "3.json": b'{"label": "cat"}', "4.jpg": b"", "5.cls": b"5"},
        )  # fmt: skip
        expected = [("1.jpg", 3), ("2.jpg", -1), ("3.png", "cat"), ("4.jpg", None)]
        assert self.labels(path) == expected
        assert self.labels(path, first=2) == expected[2:]

    def test_of_keys_with_dots(self, make_tar):
        """The key ends at the first dot; a label with an image's whole stem is its own."""
        path = make_tar(
            "a.tar",
            {"x.left.jpg": b"", "x.right.jpg": b"", "x.cls": b"1", "y.v1.jpg": b"",
             "y.v1.cls": b"2", "y.v2.jpg": b"", "y.v2.cls": b"3",
             ".h.jpg": b"", ".h.cls": b"4", ".i.jpg": b""},
        )  # fmt: skip
        assert self.labels(path) == [
            ("x.left.jpg", 1), ("x.right.jpg", 1), ("y.v1.jpg", 2), ("y.v2.jpg", 3), (".h.jpg", 4),
            (".i.jpg", None),
        ]  # fmt: skip

    def test_not_of_another_folder(self, make_tar):
        path = make_tar("a.tar", {"a/1.jpg": b"", "b/1.cls": b"1", "b/1.jpg": b""})
        assert self.labels(path) == [("1.jpg", None), ("1.jpg", 1)]

    def test_memory_is_bounded(self, make_tar, monkeypatch):
        """A label too far from its images does not keep them all in memory."""
        monkeypatch.setattr(tars, "MOST", 100)
        path = make_tar("a.tar", {f"k.{i}.jpg": b"1" * 60 for i in range(3)} | {"k.cls": b"1"})
        assert self.labels(path) == [("k.0.jpg", None), ("k.1.jpg", None), ("k.2.jpg", 1)]

    def test_are_read_only_where_wanted(self, make_tar):
        path = make_tar("a.tar", {"1.jpg": b"1", "1.json": b"{"})
        assert samples(path)[0].source == b"1"
        (one,) = samples(path, labelled=True)
        assert one.source.reason.startswith("its label, '1.json': ")


class TestCheck:
    def test_whole(self, path):
        Tar(path, False).check()
        Tar("memory://missing.tar", False).check()  # nothing is fetched before the run

    def test_missing_or_foreign(self, tmp_path):
        path = tmp_path / "a.tar"
        with pytest.raises(ConfigError, match=r"a\.tar': no such file"):
            Tar(str(path), False).check()
        path.write_bytes(b"x" * 2000)
        with pytest.raises(ConfigError, match=r"a\.tar': invalid header"):
            Tar(str(path), False).check()
