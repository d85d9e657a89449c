"""Files of torch.save: plain data loads, code stays refused, and so do false claims of size."""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import io
import os
import pickle
import shutil
import types
import uuid
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights.files import read_checkpoint
from r2n_kernels.weights.torch_files import check_archive, load_torch

NOW = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
PLAIN = {
    "numpy float": np.float64(0.5),
    "numpy int": np.int64(3),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("x"),
    "numpy date": np.datetime64("2026-01-02"),
    "numpy array": np.arange(3.0),
    "numpy objects": np.array([1, "a", None], dtype=object),
    "numpy dtype": np.dtype("f4"),
    "numpy random state": np.random.RandomState(0).get_state(),
    "defaultdict": defaultdict(list, {"loss": [0.5, 0.25], Path("x"): [np.float32(1)]}),
    "nested defaultdict": defaultdict(dict, {np.int64(3): defaultdict(int, a=1)}),
    "deque": deque([1, 2], maxlen=3),
    "counter": Counter("abba"),
    "ordered": OrderedDict(a=1),
    "path": Path("/data/train"),
    "windows path": PureWindowsPath("C:/data"),
    "datetime": NOW,
    "date": NOW.date(),
    "time": NOW.time(),
    "duration": datetime.timedelta(days=1),
    "uuid": uuid.UUID(int=7),
    "decimal": decimal.Decimal("1.5"),
    "fraction": fractions.Fraction(1, 3),
    "frozenset": frozenset([1, Path("x")]),
    "range": range(3),
    "slice": slice(1, 2),
    "complex": 1j,
    "bytes": b"abc",
    "long": 10**300,
    "namespace": argparse.Namespace(lr=0.1, out=Path("x"), argv=["a"]),
    "simple namespace": types.SimpleNamespace(a=1),
    "torch version": torch.__version__,
    "torch dtype": torch.float16,
    "types": (int, float, dict),
}
ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@ZIPPED
@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
def test_plain_data_beside_the_weights(value, zipped, tmp_path):
    checkpoint = {"extra": value, "model": {"a": torch.ones(2)}, "list": [value, {"k": value}]}
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert load_torch(tmp_path / "w.pth")["model"]["a"].tolist() == [1, 1]


def test_weights_in_a_defaultdict(tmp_path):
    torch.save({"model": defaultdict(dict, {"a": torch.ones(2)})}, tmp_path / "w.pth")
    assert load_torch(tmp_path / "w.pth")["model"]["a"].tolist() == [1, 1]


class Call:
    """Unpickling this calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_what_stands_for_plain_data_runs_nothing(tmp_path):
    """Were the classes the real ones, their arguments would raise."""
    calls = [Call(datetime.date, 10**9), Call(uuid.UUID, "no"), Call(np.dtype, "nonsense")]
    torch.save({"calls": calls, "a": torch.ones(1)}, tmp_path / "w.pth")
    assert not any(
        isinstance(found, (datetime.date, uuid.UUID, np.dtype))
        for found in load_torch(tmp_path / "w.pth")["calls"]
    )


@pytest.mark.parametrize("function", [open, eval, getattr, os.system, np.load, shutil.rmtree])
def test_functions_beside_plain_data_stay_refused(function, tmp_path):
    checkpoint = {"extra": np.float64(1), "call": Call(function, str(tmp_path / "ran"), "w")}
    torch.save(checkpoint, tmp_path / "w.pth")
    match = rf"refused: .* holds \w+\.{function.__name__}, and reading that would run code"
    with pytest.raises(WeightsError, match=match):
        load_torch(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, pickle.dump])
def test_later_pickle_protocols_are_named(write, tmp_path):
    with (tmp_path / "w.pth").open("wb") as file:
        write({"a": [1, 2]}, file, **{"pickle_protocol" if write is torch.save else "protocol": 4})
    with pytest.raises(WeightsError, match=r"w.pth: refused: pickled by protocol 4 or later"):
        load_torch(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(tmp_path):
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "w.pt"))
    with pytest.raises(WeightsError, match=r"w.pt: refused: a TorchScript archive, which is a pro"):
        load_torch(tmp_path / "w.pt")


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
