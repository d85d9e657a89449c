"""Int8 weights: whole numbers that give the float ones back, columns first, with their tables."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.fold import fold
from r2n_kernels.fold.int8_layout import FINEST, pack_int8, weight_scales
from r2n_kernels.fold.triton_layout import pack_network
from r2n_kernels.int8 import ActivationScales, BlockScales
from r2n_kernels.reference import Res2Net

CONFIG = Res2NetConfig((2, 1), planes=(13, 20), scale=3, in_chans=2, num_classes=4)
STEM, PLANES, Y, OUT = 0.5, 0.25, 0.125, 0.0625
SCALES = ActivationScales(
    STEM, tuple(BlockScales(b.name, PLANES, Y, OUT) for b in CONFIG.blocks()), ""
)


@pytest.fixture(scope="module")
def packed(randomize):
    state = randomize(Res2Net(CONFIG)).state_dict()
    folded = fold(CONFIG, state, torch.float32)
    exact = pack_network(CONFIG, folded, state, torch.float32)
    return exact, pack_int8(CONFIG, folded, state, torch.float32, SCALES)


@pytest.mark.parametrize(
    ("name", "x", "out"),
    [("layer1.0.conv1", STEM, PLANES), ("layer1.0.convs", PLANES, Y), ("layer1.1.conv3", Y, OUT)],
)
def test_weights_and_biases_come_back(packed, name, x, out):
    exact, int8 = (side[name] for side in packed)
    assert int8.weight.dtype == torch.int8
    assert int8.weight.is_contiguous()
    assert int8.weight.abs().max() == 127
    tables = int8.bias.reshape(-1, *int8.bias.shape[-2:]).double()  # [convs, 3, N_PAD]
    bias, scale = tables[:, 0], tables[:, 1] * out / x
    weight = int8.weight.reshape(len(tables), -1, *int8.weight.shape[-2:]).transpose(-1, -2)
    found = weight * scale[:, None, None]  # [convs, lines, K_PAD, N_PAD]
    error = (found - exact.weight.reshape(found.shape)).abs()
    assert (error <= 0.501 * scale[:, None, None]).all()
    torch.testing.assert_close(bias * out, exact.bias.reshape(bias.shape).double())


def test_the_last_split_of_conv1_is_in_quanta_of_y(packed):
    exact, int8 = (side["layer1.1.conv1"] for side in packed)
    ratio = exact.bias[exact.bias != 0] / int8.bias[0][exact.bias != 0]
    torch.testing.assert_close(ratio, torch.tensor([PLANES] * 10 + [Y] * 5))


def test_a_projection_goes_on_from_the_sums_of_conv3(packed):
    exact, int8 = (side["layer2.0.conv3"] for side in packed)
    _, scale, ratio = int8.bias.double()
    assert (ratio <= FINEST).all()
    sides = ((int8.shortcut, exact.shortcut, 1.0, OUT), (int8.weight, exact.weight, ratio, Y))
    for whole, weight, factor, x in sides:
        found = whole.t() * scale * factor * OUT / x
        step = (scale * factor * OUT / x).clamp_min(1e-12)
        assert ((found - weight).abs() <= 0.501 * step).all()


def test_channels_of_zeros_have_the_scale_one():
    weight = torch.zeros(3, 2, 1, 1)
    weight[1] = -254
    assert weight_scales(weight).tolist() == [1, 2, 1]
    found = weight_scales(weight, torch.tensor([4.0, 5, 0.5]), torch.tensor([3.0, 3, 7]))
    assert found.tolist() == [3, 5, 7]


@pytest.mark.parametrize("part", ["bn3", "downsample.1"])
def test_a_projection_keeps_the_other_side_of_a_channel_of_zeros(part, randomize):
    """A gamma of 0, as training may begin with, or pruning ends with."""
    state = randomize(Res2Net(CONFIG)).state_dict()
    state[f"layer2.0.{part}.weight"][:5] = 0
    folded = fold(CONFIG, state, torch.float32)
    made = pack_int8(CONFIG, folded, state, torch.float32, SCALES)["layer2.0.conv3"]
    exact = pack_network(CONFIG, folded, state, torch.float32)["layer2.0.conv3"]
    _, scale, ratio = made.bias.double()
    there = (made.shortcut, exact.shortcut, 1.0, OUT)
    if part != "bn3":
        there = (made.weight, exact.weight, ratio, Y)
        assert (ratio[:5] == 1).all()
    whole, weight, factor, x = there
    found = (whole.t() * scale * factor * OUT / x)[:, :5]
    error = (found - weight[:, :5]).abs().amax(dim=0)
    assert (error <= 0.51 / 127 * weight[:, :5].abs().amax(dim=0)).all()


def test_the_stem_gives_quanta_and_the_classifier_takes_them(packed):
    exact, int8 = packed
    torch.testing.assert_close(int8["conv1"].weight, exact["conv1"].weight / STEM)
    torch.testing.assert_close(int8["conv1"].bias, exact["conv1"].bias / STEM)
    torch.testing.assert_close(int8["fc"].weight, exact["fc"].weight * OUT)
    torch.testing.assert_close(int8["fc"].bias, exact["fc"].bias)
