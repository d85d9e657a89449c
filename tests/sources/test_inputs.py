from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources import find_inputs, paths, shard_of, spool


@pytest.fixture
def arguments(tmp_path, monkeypatch, make_tar):
    """Thirteen samples of every kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(4):
        (tmp_path / "photos" / f"{i}.png").touch()
    make_tar("a.tar", {f"{i}.jpg": b"%d" % i for i in range(3)})
    pq.write_table(pa.table({"image": [b"1"] * 5}), "t.parquet")
    return ["photos", "a.tar", "t.parquet", "x.jpg"]


@pytest.mark.parametrize("kinds", [["photos", "t.parquet", "x.jpg"], None])
@pytest.mark.parametrize("shards", [1, 2, 3, 5, 20])
def test_shards(arguments, kinds, shards):
    """Each is every n-th sample of all; together they are all, none twice."""
    arguments = kinds or arguments
    whole = list(find_inputs(arguments))
    for index in range(shards):
        inputs = find_inputs(arguments, shard=(index, shards))
        assert list(inputs) == whole[index::shards]
        assert inputs.count == (len(whole[index::shards]) if kinds else None)
        assert inputs.digest == find_inputs(arguments).digest


def test_skip(arguments):
    for shard in ((0, 1), (1, 3)):
        inputs = find_inputs(arguments, shard=shard)
        whole = list(inputs)
        for samples in (0, 1, 3, 7, len(whole), 99):
            assert list(inputs.skip(samples)) == whole[samples:]
        assert list(inputs.skip(1).skip(2)) == whole[3:]
        assert list(inputs) == whole
    assert find_inputs(["photos"]).skip(3).count == 1
    assert find_inputs(["photos"]).skip(9).count == 0


def test_a_snapshot(arguments, tmp_path):
    inputs = find_inputs(["photos"])
    (tmp_path / "photos" / "9.png").touch()
    assert len(list(inputs)) == inputs.count == 4


class TestDigest:
    def test_of_names(self, arguments):
        expected = hashlib.sha256(b"photos/0.png\0photos/1.png\0photos/2.png\0photos/3.png\0")
        assert find_inputs(["photos"]).digest == expected.hexdigest()
        assert find_inputs(["photos/*"]).digest == expected.hexdigest()

    def test_tells_listings_apart(self, arguments, tmp_path, make_tar):
        digests = [find_inputs(one).digest for one in (["photos"], ["a.tar"], ["t.parquet"])]
        (tmp_path / "photos" / "9.png").touch()
        make_tar("a.tar", {f"{i}.jpg": b"" for i in range(30)})
        pq.write_table(pa.table({"image": [b"1"] * 6}), "t.parquet")
        digests += [find_inputs(one).digest for one in (["photos"], ["a.tar"], ["t.parquet"])]
        assert len(set(digests)) == 6


def test_files_that_must_not_be_replaced(arguments, tmp_path):
    (tmp_path / "list.txt").write_text("t.parquet\nphotos/1.png")
    inputs = find_inputs(["photos", "x.jpg", "@list.txt", "*.tar", "memory://x.jpg"])
    assert set(inputs.files) == {"x.jpg", "list.txt", "t.parquet", "a.tar"}


def test_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"^no image in folder 'empty'; no file matches '\*\.bmp'$"
    ):
        find_inputs(["empty", "*.bmp"])
    (tmp_path / "empty" / "x.heic").touch()
    with pytest.raises(ConfigError, match=r"'empty'; passed over in folders: 1 \.heic$"):
        find_inputs(["empty"])
    assert [one.name for one in find_inputs(["empty", "x.jpg"])] == ["empty", "x.jpg"]
    assert find_inputs([]).count == 0
    assert find_inputs("x.jpg").count == 1


def test_shard_of():
    assert shard_of("0/4") == (0, 4)
    assert shard_of("11/12") == (11, 12)
    for text in ("4/4", "0/0", "-1/4", "1", "1/", "1/4/5", " 1/4", "1/4\n", "", "1/" + "9" * 5000):
        with pytest.raises(ConfigError, match="a shard is i/n with i from 0 to n - 1, as 0/4, not"):
            shard_of(text)
    for shard in ((4, 4), (-1, 4), (0, 0)):
        with pytest.raises(ConfigError, match="the first number must be below the second"):
            find_inputs([], shard=shard)


@pytest.mark.slow
def test_memory_of_200_000_names(monkeypatch):
    """A folder of 200,000 photographs is listed in 6 MB; a list of its paths takes 24."""
    monkeypatch.setattr(spool, "RUN", 10_000)

    def entries(prefix):
        return ((f"{i * 7919 % 200_000:050}.png", False) for i in range(200_000))

    real = paths.walk
    monkeypatch.setattr("r2n_kernels.sources.listing.walk", lambda *a: real(*a[:3], entries))
    monkeypatch.setattr("r2n_kernels.sources.listing.os.path.isdir", lambda path: True)
    tracemalloc.start()
    try:
        inputs = find_inputs(["photos"])
        assert inputs.count == sum(1 for _ in inputs) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def test_import_is_light():
    """A process that reads samples starts without torch, numpy, pyarrow or fsspec."""
    code = (
        "import sys, r2n_kernels.sources;"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'fsspec', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
