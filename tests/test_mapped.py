"""Tensors in a file without a name are as others, and give their memory back."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch

from r2n_kernels.errors import ConfigError
from r2n_kernels.mapped import mapped

TENSORS = {
    "matrix": torch.randn(3, 1 << 20),
    "strided": torch.randn(6, 5).t(),
    "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "halves": torch.randn(7).bfloat16(),
    "integers": torch.arange(5),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 3),
}


def resident(kind: str) -> int:
    """Return this process's bytes of a kind: RssAnon, RssFile."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(kind))
    return int(line.split()[1]) * 1024


def test_values_shapes_and_dtypes_are_kept():
    found = mapped(TENSORS).tensors
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous(), name


def test_no_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = mapped(TENSORS)
    assert not list(tmp_path.iterdir())
    assert torch.equal(kept.tensors["matrix"], TENSORS["matrix"])


def test_what_is_written_stays_and_is_nobody_elses():
    kept, other = mapped(TENSORS), mapped(TENSORS)
    kept.tensors["integers"][2] = 70
    kept.page_out()
    assert kept.tensors["integers"].tolist() == [0, 1, 70, 3, 4]
    assert other.tensors["integers"].tolist() == [0, 1, 2, 3, 4]
    assert TENSORS["integers"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory as Linux tells it")
def test_memory_is_taken_by_reading_and_given_back():
    size = TENSORS["matrix"].nbytes
    kept = mapped({"matrix": TENSORS["matrix"]})
    before = resident("RssFile")
    assert torch.equal(kept.tensors["matrix"], TENSORS["matrix"])
    read = resident("RssFile")
    assert read - before > 0.9 * size
    kept.page_out()
    assert read - resident("RssFile") > 0.9 * size


def test_tensors_outlive_what_mapped_them():
    tensor = mapped(TENSORS).tensors["matrix"]
    assert torch.equal(tensor, TENSORS["matrix"])


def test_a_kernel_that_cannot_page_out_is_left_alone_and_others_errors_are_raised():
    class Memory:
        def __init__(self, number: int) -> None:
            self.number = number

        def madvise(self, advice: int) -> None:
            raise OSError(self.number, "no")

    kept = mapped({"scalar": TENSORS["scalar"]})
    kept._replace(memory=Memory(errno.EINVAL)).page_out()
    with pytest.raises(OSError, match="no"):
        kept._replace(memory=Memory(errno.EBADF)).page_out()


def test_a_folder_without_room_is_an_error(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(ConfigError, match=r"low_memory: /nowhere must take \d+ MB: .*No such file"):
        mapped(TENSORS)
