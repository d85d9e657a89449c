"""Floats of few bits: against torch's dtypes where it has them, else against all their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r2n_kernels.emulator.small_floats import CODECS, FORMATS, decode_scale, encode_scale

TORCH = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
RANGE = {"e4m3": 448, "e5m2": 57344, "e2m1": 6, "e2m3": 7.5, "e3m2": 28}


def every_float16() -> torch.Tensor:
    """All of them, as float32, and just above and below each."""
    x = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16).float()
    x = x[~x.isnan()]
    return torch.cat([x, x * (1 + 2.0**-20), x * (1 - 2.0**-20)])


@pytest.mark.parametrize("name", TORCH)
def test_against_torch(name):
    x, top = every_float16(), RANGE[name]
    wanted = x.clamp(-top, top).to(TORCH[name]).view(torch.uint8)
    found = FORMATS[name].encode(x.numpy())
    assert np.array_equal(found, wanted.numpy())
    bits = torch.arange(256, dtype=torch.uint8)
    values = FORMATS[name].decode(bits.numpy())
    np.testing.assert_array_equal(values, bits.view(TORCH[name]).float().numpy())
    assert FORMATS[name].encode(np.array([np.nan]))[0] == 0x7F


@pytest.mark.parametrize("name", ["e2m1", "e2m3", "e3m2"])
def test_what_torch_lacks(name):
    """The nearest of all values; at ties the one with an even mantissa, which is an even place."""
    form = FORMATS[name]
    values = form.values[: form.sign].astype(np.float64)
    assert values[-1] == RANGE[name]
    assert values[1] == 2.0 ** (1 - form.bias - form.mantissa)
    assert (np.diff(values) > 0).all()
    x = np.concatenate([np.linspace(0, 1.2 * values[-1], 3001), (values[1:] + values[:-1]) / 2])
    found = form.encode(x)
    distance = np.abs(np.minimum(x, values[-1])[:, None] - values)
    near = distance == distance.min(1, keepdims=True)
    wanted = [min(np.flatnonzero(row), key=lambda place: place % 2) for row in near]
    assert found.tolist() == wanted
    assert form.encode(-x).tolist() == [place + form.sign for place in wanted]
    assert form.encode(np.array([np.nan, np.inf])).tolist() == [form.sign - 1] * 2


def test_scales():
    assert decode_scale(np.array([0, 127, 130, 254])).tolist() == [2.0**-127, 1, 8, 2.0**127]
    assert np.isnan(decode_scale(np.array([255]))).all()
    x = np.array([1, 1.5, 2, 3e38, 2.0**-140, 0, np.inf, np.nan, -4])
    assert encode_scale(x).tolist() == [127, 127, 128, 254, 0, 0, 254, 255, 129]
    assert encode_scale(x, up=True).tolist() == [127, 128, 128, 254, 0, 0, 254, 255, 129]


@pytest.mark.parametrize("name", CODECS)
def test_bits_come_back(name):
    bits, read, write = CODECS[name]
    every = np.arange(1 << (6 if name in ("e2m3", "e3m2") else bits), dtype=np.uint8)
    values = read(every)
    keep = np.isfinite(values) if name != "ue8m0" else ~np.isnan(values)
    assert np.array_equal(write(values[keep]), every[keep])
