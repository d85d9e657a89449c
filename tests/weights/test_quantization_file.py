from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from r2n_kernels.errors import WeightsError
from r2n_kernels.fold.quantization import Quantization, Range
from r2n_kernels.weights.quantization_file import (
    QUANTIZATION_NAME,
    STATED,
    is_quantized,
    read_quantization,
    write_quantization,
)

MADE = Quantization(
    {"layer1.0.conv1": torch.rand(7), "fc": torch.rand(3)},
    {"fc:0": Range(-0.1, 1 / 3, 256), "input:0": Range(0.0, 2.5, 255)},
    "ab" * 32, {"nncf": "3", "in_float": ["conv1"], "agreement": {"drop": 0.1}},
)  # fmt: skip


def test_what_is_written_is_read_back(tmp_path):
    write_quantization(tmp_path, MADE)
    found = read_quantization(tmp_path / QUANTIZATION_NAME)
    assert found.digest == MADE.digest
    assert (found.trunk, found.facts) == (MADE.trunk, MADE.facts)
    assert found.ranges == MADE.ranges


def test_config_tells_of_it():
    assert is_quantized(dict(STATED))
    assert not is_quantized(None)
    assert not is_quantized({"architecture": "res2net50d"})


@pytest.mark.parametrize("stated", [{"quant_method": "bitsandbytes"}, "int4", {}])
def test_another_kind_is_refused(stated):
    with pytest.raises(WeightsError, match="expected quant_method 'r2n-int8' or none, got "):
        is_quantized({"quantization_config": stated})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json says that it is there, and it is miss"):
        read_quantization(tmp_path / QUANTIZATION_NAME)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "expected format '1', got None"),
        ({"format": "2"}, "expected format '1', got '2'"),
        ({"format": "1"}, "damaged, or no quantization: KeyError"),
        ({"format": "1", "ranges": "{"}, "damaged, or no quantization: JSONDecodeError"),
        ({"format": "1", "ranges": '{"a": 3}'}, "damaged, or no quantization: TypeError"),
    ],
)
def test_a_file_of_another_kind(tmp_path, metadata, reason):
    save_file({"a": torch.ones(1)}, tmp_path / QUANTIZATION_NAME, metadata)
    with pytest.raises(WeightsError, match=reason):
        read_quantization(tmp_path / QUANTIZATION_NAME)


def test_a_damaged_file(tmp_path):
    (tmp_path / QUANTIZATION_NAME).write_bytes(b"12345678 nothing")
    with pytest.raises(WeightsError, match="damaged, or no quantization: SafetensorError"):
        read_quantization(tmp_path / QUANTIZATION_NAME)
