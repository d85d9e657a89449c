from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2n_kernels import data
from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import paths, spool
from r2n_kernels.sources.paths import find_images, passed_over_text, walk

NOT_UTF8 = os.fsdecode(b"caf\xe9\xff.png")


class TestFind:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        names = [
            "b.JPG",
            "a.png",
            "sub/c.webp",
            "sub/deeper/.hidden.jpeg",
            ".dir/d.tif",
            "note.txt",
        ]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_folder(self, folder):
        expected = [".dir/d.tif", "a.png", "b.JPG", "sub/c.webp", "sub/deeper/.hidden.jpeg"]
        assert find_images([folder]) == [str(folder / name) for name in expected]
        assert find_images(["sub"]) == ["sub/c.webp", "sub/deeper/.hidden.jpeg"]

    def test_order_of_arguments_and_duplicates_are_kept(self, folder):
        assert find_images(["sub/c.webp", "a.png", "a.png"]) == ["sub/c.webp", "a.png", "a.png"]

    def test_any_file_is_kept_as_it_is(self, folder):
        assert find_images(["note.txt", "missing.png"]) == ["note.txt", "missing.png"]

    def test_one_path(self, folder):
        assert find_images("a.png") == ["a.png"]
        assert find_images(Path("a.png")) == ["a.png"]

    def test_glob(self, folder):
        assert find_images(["*.png"]) == ["a.png"]
        assert find_images(["?.*"]) == ["a.png", "b.JPG"]
        assert find_images(["**/*.[jw]*"]) == ["sub/c.webp"]
        assert find_images(["*"]) == ["a.png", "b.JPG", "note.txt"]  # files only

    def test_literal_name_wins_over_the_pattern(self, folder):
        for name in ("[a].png", "*.png"):
            (folder / name).touch()
            assert find_images([name]) == [name]

    def test_names_that_are_not_utf8(self, folder):
        (folder / "sub" / NOT_UTF8).touch()
        expected = os.path.join("sub", NOT_UTF8)
        assert expected in find_images(["sub"])
        assert expected in find_images(["sub/caf*"])
        assert find_images([os.fsencode(expected)]) == [expected]

    def test_broken_link_is_kept(self, folder):
        os.symlink("nowhere", folder / "link.png")
        assert "link.png" in find_images(["link.png"])
        assert str(folder / "link.png") in find_images([folder])

    def test_link_to_a_folder_is_not_followed(self, folder):
        os.symlink(folder, folder / "sub" / "loop")
        assert len(find_images([folder])) == 5

    def test_folder_that_cannot_be_listed(self, folder, monkeypatch):
        real = os.scandir

        def scandir(path):
            if os.fspath(path).endswith("deeper"):
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)  # root may list every folder
        assert find_images(["sub"]) == ["sub/c.webp", "sub/deeper"]

    def test_nothing_found(self, folder):
        (folder / "empty").mkdir()
        with pytest.raises(ConfigError, match=r"^no image in folder 'empty'$"):
            find_images(["empty"])
        with pytest.raises(ConfigError, match=r"no image in folder 'empty'; no file matches '\?'"):
            find_images(["empty", "?"])
        with pytest.raises(ConfigError, match=r"no file matches '\*\.bmp'"):
            find_images(["*.bmp"])
        assert find_images([]) == []

    def test_nothing_found_beside_others(self, folder):
        (folder / "empty").mkdir()
        assert find_images(["empty", "a.png", "*.bmp"]) == ["empty", "a.png", "*.bmp"]


def tree_entries(files):
    """A folder in memory that is listed in no order: paths below "top/" to entries."""

    def entries(prefix):
        below = {
            path[len(prefix) :].partition("/")[:2] for path in files if path.startswith(prefix)
        }
        return ((name, bool(slash)) for name, slash in below)

    return entries


# characters on either side of "/", which a subfolder's name is compared with
NAMES = st.text("-.0a\udce9/", min_size=1, max_size=9).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


class TestWalk:
    @given(st.sets(NAMES, max_size=30))
    def test_order_is_that_of_sorted_paths(self, names):
        folders = {name[:i] for name in names for i, c in enumerate(name) if c == "/"}
        files = {f"top/{name}" for name in names - folders}
        found = list(walk("top", lambda name: True, entries=tree_entries(files)))
        assert found == sorted(files)

    @pytest.mark.parametrize("top", ["", "/"])
    def test_order_of_a_tree_on_disk(self, tmp_path, monkeypatch, top):
        monkeypatch.setattr(spool, "RUN", 7)  # sorted in several runs
        rng = random.Random(0)
        for _ in range(200):
            folder = tmp_path.joinpath(*(rng.choice(["a", "a-", "a.b", "A"]) for _ in range(3)))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{rng.choice('a-.0')}{rng.randrange(50)}.png").touch()
        expected = sorted(map(str, tmp_path.rglob("*.png")))
        assert len(expected) > 100
        assert list(walk(f"{tmp_path}{top}")) == expected

    def test_others_are_counted_by_suffix(self, tmp_path):
        for name in ("a.HEIC", "b.heic", "c", ".d", "e.png", "f.dng"):
            (tmp_path / name).touch()
        counts = {}
        assert len(list(walk(str(tmp_path), passed_over=counts))) == 1
        assert counts == {".heic": 2, "": 2, ".dng": 1}

    def test_counts_of_a_thousand_suffixes_are_bounded(self):
        counts = {}
        files = [f"top/a.{i}" for i in range(1000)]
        list(walk("top", passed_over=counts, entries=tree_entries(files)))
        assert len(counts) == paths.KINDS + 1
        assert sum(counts.values()) == 1000
        assert "900 of other kinds" in passed_over_text({**{"": 1}, paths.OTHERS: 900})

    def test_a_deep_tree(self):
        path = "top/" + "d/" * 5000 + "a.png"

        def entries(prefix):
            return [("a.png", False)] if len(prefix) == len(path) - 5 else [("d", True)]

        assert list(walk("top", entries=entries)) == [path]


def test_passed_over_is_one_sentence():
    assert passed_over_text({}) == ""
    counts = {"": 2, ".dng": 1, ".heic": 3, ".\udce9": 1}
    told = "passed over in folders: 3 .heic, 1 .dng, 1 .\\xe9, 2 without suffix"
    assert passed_over_text(counts) == told


def test_data_offers_it():
    assert data.find_images is find_images
