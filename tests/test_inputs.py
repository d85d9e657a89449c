"""Bytes as input; floats are tested with the model."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels import InputError, from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.reference import Res2Net

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def model():
    model = from_timm(Res2Net(Res2NetConfig(layers=(1,), planes=(13,), num_classes=5)).eval())
    model.pretrained_cfg.update(mean=MEAN, std=STD)
    return model


def test_bytes_are_normalised_as_the_transform_does(model, rel_error):
    pixels = torch.randint(0, 256, (3, 40, 33, 3), dtype=torch.uint8)
    floats = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    assert rel_error(model(pixels), model(floats)) < 1e-6
    assert rel_error(model.forward_features(pixels), model.forward_features(floats)) < 1e-6
    assert model(pixels[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 40, 40), r"expected bytes of shape \[N, H, W, 3\], got \[1, 3, 40, 40\]"),
        ((40, 40, 3), r"expected bytes of shape \[N, H, W, 3\], got \[40, 40, 3\]"),
        ((1, 31, 40, 3), "images must be at least 32x32, got 31x40"),
    ],
)
def test_wrong_bytes_are_named(shape, message, model):
    with pytest.raises(InputError, match=message):
        model(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("mean", [None, (0.5,)])
def test_bytes_need_a_stated_normalisation(mean, model, monkeypatch):
    monkeypatch.setitem(model.pretrained_cfg, "mean", mean)
    with pytest.raises(InputError, match=r"pretrained_cfg\['mean'\], which must have 3 values"):
        model(torch.zeros(1, 40, 40, 3, dtype=torch.uint8))
