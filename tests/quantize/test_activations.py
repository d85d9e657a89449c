"""Activation scales of images, and the digits, whose held-out answers stay as right in int8."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels import create_model
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine import TritonOptions
from r2n_kernels.errors import InputError
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.quantize import Calibration, activation_scales, agreement
from r2n_kernels.reference import Res2Net, digits, randomize

from ..int8_cases import network, noise, twin_network

CONFIG = Res2NetConfig((2, 1), planes=(9, 14), scale=3, in_chans=2, num_classes=3)


def test_scales_are_of_the_largest_values():
    images, told = noise(CONFIG, 11, 33, 36), []
    scales = activation_scales(network(CONFIG), Calibration(images), tick=told.append)
    assert sum(told) == 11
    model = randomize(Res2Net(CONFIG).eval())
    x = (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        stem, *layers = model.feature_maps(x)
        first, second = model.layer1
        trunk = first(model.maxpool(stem))
        x1, x2, x3 = second.relu(second.bn1(second.conv1(trunk))).split(second.width, 1)
        y1 = second.relu(second.bns[0](second.convs[0](x1)))
        y2 = second.relu(second.bns[1](second.convs[1](y1 + x2)))
    found = scales.named()
    expected = {
        "stem": stem, "layer1.0.out": trunk, "layer1.1.out": layers[0], "layer2.0.out": layers[1],
        "layer1.1.planes": torch.cat([x1, y1 + x2]), "layer1.1.y": torch.cat([y1, y2, x3]),
    }  # fmt: skip
    for name, values in expected.items():
        assert found[name] == pytest.approx(values.abs().max().item() / 127, rel=1e-5), name


def test_a_dead_tensor_has_the_scale_one():
    model = network(CONFIG)
    for part in ("weight", "bias"):
        model.layer1[1].bn1.get_parameter(part).zero_()
    model.refold()
    found = activation_scales(model, Calibration(noise(CONFIG, 2, 32, 32))).named()
    assert found["layer1.1.y"] < 1
    assert found["layer1.1.planes"] < 1  # the sums of the chain
    model.layer1[1].bns[0].bias.fill_(-1e3)
    model.layer1[1].bns[1].bias.fill_(-1e3)
    model.refold()
    found = activation_scales(model, Calibration(noise(CONFIG, 2, 32, 32))).named()
    assert found["layer1.1.y"] == found["layer1.1.planes"] == 1


def test_activations_that_are_not_finite_are_refused():
    model = network(CONFIG)
    model.layer1[1].bn3.bias.fill_(3e38)
    model.layer2[0].bn3.bias.fill_(3e38)
    with pytest.raises(InputError, match="activations of the calibration images are not finite: "):
        activation_scales(model, Calibration(noise(CONFIG, 2, 32, 32)))


def pixels(images) -> torch.Tensor:
    return digits.to_unit(images).mul(255).round().byte().permute(0, 2, 3, 1).contiguous()


@pytest.mark.slow
@pytest.mark.skipif(not interpreted(), reason="there is a GPU")
def test_the_digits_stay_as_right():
    """All held-out images by twins, some by the kernels, whose answers must be the twins'."""
    pytest.importorskip("sklearn")
    from r2n_kernels.cli.bundled import DIGITS

    seen, held, _, labels = digits.split()
    source, few = {"model_name": f"local-dir:{DIGITS}", "pretrained": True}, 8
    float32 = create_model(**source, backend="torch")
    scales = activation_scales(float32, Calibration(pixels(seen[::4])))
    options = TritonOptions(int8=scales)
    int8 = create_model(**source, backend="triton", dtype=torch.float16, triton=options)
    images, labels = pixels(held), torch.from_numpy(labels).long()
    some = agreement(float32, int8, Calibration(images[:few], labels[:few]))
    assert some["top1_equal"] == some["top1_int8"] == 1
    assert some["cosine_mean"] > 0.999

    (mean,), (std,) = float32.pretrained_cfg["mean"], float32.pretrained_cfg["std"]
    x = ((images.permute(0, 3, 1, 2) / 255 - mean) / std).half()
    backend = int8._packed.backend
    logits = []
    for batch in x.split(64):
        plan = backend.plan(len(batch), 32, 32)
        logits.append(twin_network(plan, batch, backend.weights)["logits"].float())
    twins, exact = torch.cat(logits), float32(images)
    assert (twins.argmax(1) == labels).double().mean() >= 448 / 450
    assert (twins.argmax(1) == exact.argmax(1)).double().mean() >= 0.995
    torch.testing.assert_close(int8(images[:few]).float(), twins[:few], rtol=0, atol=0.05)


def test_scales_outlive_a_file(tmp_path):
    scales = activation_scales(network(CONFIG), Calibration(noise(CONFIG, 2, 32, 32)))
    path = tmp_path / "scales.json"
    path.write_text(scales.to_json(), encoding="utf-8")
    assert type(scales).from_json(path.read_text(encoding="utf-8")) == scales
    assert dataclasses.replace(scales, stem=1.0) != scales
