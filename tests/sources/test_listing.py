from __future__ import annotations

import io
import os
import sys
import zipfile
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import find_images, find_inputs, listing
from r2n_kernels.sources.sample import Broken, Remote, Sample

NOT_UTF8 = os.fsdecode(b"caf\xe9\xff.png")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with photographs, which nobody opens."""
    names = ["photos/a.png", "photos/cats/b.JPG", "photos/cats/c.heic", f"photos/{NOT_UTF8}",
             "d.jpg", "note.txt", "@me.jpg", "[x].png"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def table(path, rows=3, column="image", label=None, **metadata):
    columns = {column: [b"%d" % row for row in range(rows)]}
    columns |= {} if label is None else {"label": [label] * rows}
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    found = pa.table(columns).replace_schema_metadata(metadata)
    if path.endswith(".parquet"):
        pq.write_table(found, path)
    else:
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, found.schema) as writer:
            writer.write_table(found)
    return path


def names(*arguments, **options):
    return [one.name for one in find_inputs(arguments, **options)]


class TestPaths:
    """As find_images has them."""

    @pytest.mark.parametrize(
        "arguments",
        [["photos"], ["photos/"], ["photos/*"], ["**/*.png", "d.jpg", "d.jpg"],
         ["note.txt", "no.jpg"],
         ["[x].png"], ["@me.jpg"], ["photos", "*.bmp", "photos/cats/"], ["a\0b.png"],
         ["\ud800.png"]],
    )  # fmt: skip
    def test_same_names(self, arguments):
        found = list(find_inputs(arguments))
        assert [one.name for one in found] == find_images(arguments)
        assert all(one == Sample(one.name, one.name) for one in found)

    def test_others_are_counted(self):
        assert find_inputs(["photos", "photos/cats"]).passed_over == {".heic": 2}

    def test_labels_are_subfolders(self):
        found = find_inputs(["photos", "photos/cats", "d.jpg"], labelled=True)
        assert [one.label for one in found] == [None, None, "cats", None, None]

    def test_folders_named_as_images(self, folder):
        (folder / "f.png" / "g.png").mkdir(parents=True)
        (folder / "f.png" / "a.png").touch()
        assert names("f.png") == ["f.png/a.png"]


class TestLists:
    def test_entries(self, folder, make_tar):
        tar = make_tar("a.tar", {"x.jpg": b"x"})
        (folder / "list").write_bytes(
            b"d.jpg\nphotos\n\nno.jpg\n@me.jpg\n-\n[x].png\nmemory://a.jpg\n" + os.fsencode(tar)
        )
        found = list(find_inputs(["@list", "note.txt"]))
        assert [one.name for one in found] == [
            "d.jpg", *find_images(["photos"]), "no.jpg", "@me.jpg", "-", "[x].png",
            "memory://a.jpg", f"{tar}/x.jpg", "note.txt",
        ]  # fmt: skip
        assert Remote("memory://a.jpg") in [one.source for one in found]

    def test_no_nesting(self, folder):
        (folder / "list").write_text("@list\n@other")
        assert names("@list") == ["@list", "@other"]

    def test_names_with_an_images_suffix_are_not_looked_at(self, folder, monkeypatch):
        (folder / "list").write_bytes(b"a.png\0photos.jpg\0")

        def look(path):
            raise AssertionError(path)

        monkeypatch.setattr(listing.os.path, "isdir", look)
        monkeypatch.setattr(listing.os.path, "lexists", lambda path: False)
        assert names("@list") == ["a.png", "photos.jpg"]

    def test_behind_a_url(self, memory):
        memory.pipe("/list.txt", b"d.jpg\nmemory://x.jpg\n")
        assert names("@memory://list.txt") == ["d.jpg", "memory://x.jpg"]

    def test_refusals(self, folder):
        (folder / "empty").touch()
        with pytest.raises(ConfigError, match=r"^no name in list 'empty'$"):
            find_inputs(["@empty"])
        assert next(iter(find_inputs(["@empty", "d.jpg"]))) == Sample(
            "@empty", Broken("no name in list 'empty'")
        )
        with pytest.raises(ConfigError, match=r"^list 'none': no such file$"):
            find_inputs(["@none", "d.jpg"])


class TestStandardInput:
    def test_entries(self, stdin, make_tar):
        tar = make_tar("a.tar", {"x.jpg": b"x", "y.jpg": b"y"})
        stdin(b"d.jpg\nphotos/cats\nno.parquet\n" + os.fsencode(tar) + b"\n")
        inputs = find_inputs(["@me.jpg", "-", "note.txt"])
        assert (inputs.count, inputs.digest) == (None, None)
        found = list(inputs)
        assert [one.name for one in found] == [
            "@me.jpg", "d.jpg", "photos/cats/b.JPG", "no.parquet", f"{tar}/x.jpg", f"{tar}/y.jpg",
            "note.txt",
        ]  # fmt: skip
        assert found[3].source == Broken("'no.parquet': no such file")
        assert inputs.passed_over == {".heic": 1}

    def test_labels(self, stdin):
        stdin(b"photos")
        assert [one.label for one in find_inputs(["-"], labelled=True)] == [None, None, "cats"]

    def test_refusals(self, stdin, monkeypatch):
        stdin(b"")
        with pytest.raises(ConfigError, match="standard input, which can be read only once"):
            find_inputs(["-", "-"])
        assert list(find_inputs(["-"])) == [Sample("-", Broken("no name in it"))]
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(ConfigError, match="standard input, which is closed"):
            find_inputs(["-"])


class TestTables:
    def test_files_folders_and_patterns(self):
        table("hub/data/b.parquet"), table("hub/data/a.parquet", 2), table("hub/README.parquet", 0)
        rows = ["hub/data/a.parquet#0", "hub/data/a.parquet#1", "hub/data/b.parquet#0"]
        assert names("hub/data/a.parquet") == rows[:2]
        assert names("hub/data/*.parquet")[:3] == rows
        assert names("hub")[1:4] == rows  # the empty table is a row that says so
        assert find_inputs(["hub"]).passed_over == {}

    def test_images_come_before_tables(self):
        table("photos/metadata.parquet")
        inputs = find_inputs(["photos"])
        assert inputs.count == 3
        assert inputs.passed_over == {".heic": 1, ".parquet": 1}

    def test_saved_datasets(self, folder):
        files = [table("saved/b.arrow", 2), table("saved/a.arrow", 1)]
        (folder / "saved" / "state.json").write_text(
            '{"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}'
        )
        inputs = find_inputs(["saved"])
        assert inputs.count == 3
        assert [one.name for one in inputs] == [f"{files[0]}#0", f"{files[0]}#1", f"{files[1]}#0"]

    def test_column(self):
        table("a.parquet", column="x")
        with pytest.raises(ConfigError, match="no column of images by its name"):
            find_inputs(["a.parquet"])
        assert len(names("a.parquet", column="x")) == 3
        with pytest.raises(ConfigError, match=r"^column 'x': no input has columns$"):
            find_inputs(["d.jpg"], column="x")

    def test_empty(self):
        table("a.parquet", 0)
        with pytest.raises(ConfigError, match=r"^no row in 'a\.parquet'$"):
            find_inputs(["a.parquet"])

    def test_classes(self):
        told = '{"info": {"features": {"label": {"names": ["cat", "%s"]}}}}'
        table("a.parquet", label=1, huggingface=told % "dog")
        table("b.parquet", label=1, huggingface=told % "cow")
        table("c.parquet", label=1)
        inputs = find_inputs(["c.parquet", "a.parquet", "c.parquet"], labelled=True)
        assert inputs.classes == ("cat", "dog")
        assert {one.label for one in inputs} == {1}
        with pytest.raises(ConfigError, match=r"labels of 'b\.parquet' are of other classes"):
            find_inputs(["a.parquet", "b.parquet"], labelled=True)
        assert find_inputs(["a.parquet", "b.parquet"]).classes is None


class TestTars:
    def test_a_folder_of_shards(self, folder, make_tar):
        (folder / "shards").mkdir()
        for name in ("b.tar", "a.tar.gz"):
            make_tar(f"shards/{name}", {f"{name}.jpg": b""})
        found = ["shards/a.tar.gz/a.tar.gz.jpg", "shards/b.tar/b.tar.jpg"]
        assert names("shards") == names("shards/*") == found
        assert find_inputs(["shards"]).count is None
        assert find_inputs(["shards"]).digest is not None

    def test_labels(self, make_tar):
        path = make_tar("a.tar", {"1.jpg": b"", "1.cls": b"1"})
        assert [one.label for one in find_inputs([path], labelled=True)] == [1]
        assert [one.label for one in find_inputs([path])] == [None]

    def test_refusals(self):
        with pytest.raises(ConfigError, match=r"^'none\.tar': no such file$"):
            find_inputs(["none.tar", "d.jpg"])


class TestUrls:
    @pytest.fixture(autouse=True)
    def files(self, memory, folder, make_tar):
        tar = open(make_tar("a.tar", {"x.jpg": b"x"}), "rb").read()  # noqa: SIM115
        memory.pipe({"/d/b.jpg": b"", "/d/a/z.png": b"", "/d/a-.jpg": b"", "/d/c.heic": b"",
                     "/s/a.tar": tar, "/empty/x.txt": b""})  # fmt: skip

    def test_folders_and_patterns(self):
        inputs = find_inputs(["memory://d"], labelled=True)
        found = ["memory://d/a-.jpg", "memory://d/a/z.png", "memory://d/b.jpg"]
        assert [one.name for one in inputs] == found == names("memory://d/")
        assert [one.label for one in inputs] == [None, "a", None]
        assert inputs.passed_over == {".heic": 1}
        assert next(iter(inputs)).source == Remote("memory://d/a-.jpg")
        assert names("memory://d/*.jpg") == ["memory:///d/a-.jpg", "memory:///d/b.jpg"]

    def test_single_files(self):
        one = "memory://none.jpg"  # reading it will tell
        assert list(find_inputs([one])) == [Sample(one, Remote(one))]
        assert names("memory://d/b.jpg?x=1", "file:///none") == [
            "memory://d/b.jpg?x=1",
            "file:///none",
        ]

    def test_archives(self, folder):
        assert names("memory://s/a.tar") == names("memory://s") == ["memory://s/a.tar/x.jpg"]
        (found,) = find_inputs(["memory://none.tar"])
        assert found == Sample("memory://none.tar", Broken("no such file"))

    def test_file_urls(self, folder):
        found = list(find_inputs([f"file://{folder}/photos"]))
        prefix = f"file://{folder}/"
        assert [one.name.removeprefix(prefix) for one in found] == find_images(["photos"])
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.writestr("x.jpg", b"1")
        (one,) = find_inputs([f"zip://*.jpg::{prefix}a.zip"])
        assert one.source.read() == b"1"

    def test_refusals(self):
        with pytest.raises(ConfigError, match=r"^'memory://none/': no such file$"):
            find_inputs(["memory://none/", "d.jpg"])
        told = r"^no image in folder 'memory://empty'; passed over in folders: 1 \.txt$"
        with pytest.raises(ConfigError, match=told):
            find_inputs(["memory://empty"])
        with pytest.raises(ConfigError, match=r"^no file matches 'memory://d/\*\.bmp'$"):
            find_inputs(["memory://d/*.bmp"])
        for name in ("nope://a.jpg", "nope://a", "nope://a.tar", "nope://*"):
            with pytest.raises(ConfigError, match=r"cannot be read here: Protocol not known: nope"):
                find_inputs([name])
