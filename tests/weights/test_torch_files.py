"""Files of torch.save with plain data beside the weights, and those that stay refused."""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import os
import pickle
import shutil
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch

from r2n_kernels.errors import WeightsError
from r2n_kernels.weights.torch_files import load_torch

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
