"""Torch files that claim far more memory than they have bytes."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights.archive import check_archive
from r2n_kernels.weights.files import read_checkpoint


def saved(checkpoint) -> dict[str, bytes]:
    """The entries of a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, entries, **compressed):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            kind = zipfile.ZIP_DEFLATED if name.endswith(tuple(compressed)) else zipfile.ZIP_STORED
            archive.writestr(name, content, kind)


@pytest.fixture
def no_reading(monkeypatch):
    """Whatever is refused is refused before torch and zipfile read an entry."""

    def read(*_arguments, **_named):
        raise AssertionError("an entry was read")

    monkeypatch.setattr(torch, "load", read)
    monkeypatch.setattr(zipfile.ZipFile, "read", read)


@pytest.mark.parametrize("packed", ["data.pkl", "data/0"])
def test_compressed_entries(packed, tmp_path, request):
    path = tmp_path / "w.pth"
    long = {"data.pkl": {"a": "x" * 8_000_000}, "data/0": {"a": torch.zeros(2_000_000)}}[packed]
    write(path, saved(long), **{packed: True})
    assert path.stat().st_size < 100_000
    request.getfixturevalue("no_reading")
    match = r"w.pth: refused: a file of \d{4} bytes that unpacks to 8000\d{3}"
    with pytest.raises(WeightsError, match=match):
        read_checkpoint(path)


def test_entries_that_share_their_bytes(tmp_path, request):
    """A directory that names one stored entry a thousand times."""
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in saved({"a": torch.zeros(10_000)}).items():
            archive.writestr(name, content)
        stored = next(e for e in archive.infolist() if e.filename.endswith("data/0"))
        for index in range(1000):
            again = zipfile.ZipInfo(f"archive/data/{index + 1}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, field, getattr(stored, field))
            archive.filelist.append(again)
    request.getfixturevalue("no_reading")
    with pytest.raises(WeightsError, match=r"refused: a file of \d+ bytes that unpacks to 40\d{6}"):
        read_checkpoint(path)


def test_recompressed_checkpoints_load(tmp_path):
    """As a user's zip program writes them."""
    generator = torch.Generator().manual_seed(0)
    entries = saved({"a": torch.randn(100_000, generator=generator)})
    write(tmp_path / "w.pth", entries, **dict.fromkeys(entries, True))
    content, _ = read_checkpoint(tmp_path / "w.pth")
    assert content["a"].shape == (100_000,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_bytearray_of_any_length(zipped, tmp_path):
    class Hungry:
        def __reduce__(self):
            return bytearray, (1 << 40,)

    path = tmp_path / "w.pth"
    torch.save({"a": Hungry()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"w.pth: refused: it holds a bytearray, which may claim"
    ):
        read_checkpoint(path)


def test_storage_longer_than_its_entry(tmp_path):
    entries = saved({"a": torch.zeros(4)})
    name = next(name for name in entries if name.endswith("data.pkl"))
    claim = entries[name].replace(b"cpuq\x06K\x04t", b"cpuq\x06J\xff\xff\xff\x7ft")
    assert claim != entries[name]
    write(tmp_path / "w.pth", entries | {name: claim})
    with pytest.raises(WeightsError, match=r"damaged or not a torch checkpoint: .*record size"):
        read_checkpoint(tmp_path / "w.pth")


def test_storage_longer_than_a_legacy_file(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    claim = content.replace(b"cpuq\x06K\x04", b"cpuq\x06J\xff\xff\xff\x7f")
    assert claim != content
    path.write_bytes(claim)
    with pytest.raises(
        WeightsError, match=r"w.pth: damaged or not a torch checkpoint: .*(size|memory)"
    ):
        read_checkpoint(path)


def test_honest_files_pass(tmp_path):
    for zipped in (True, False):
        checkpoint = {"a": torch.zeros(1000), "same": torch.zeros(1).expand(1000)}
        torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        check_archive(tmp_path / "w.pth")
