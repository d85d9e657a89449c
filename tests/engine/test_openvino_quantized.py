"""A quantized network runs in int8, near float32, whatever is wanted of it and of which images."""

from __future__ import annotations

import copy
import logging
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from r2n_kernels import Res2NetModel, create_model, from_timm
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.create import save_folder
from r2n_kernels.engine import build_backend
from r2n_kernels.engine.cpu_streams import MAX_STREAMS
from r2n_kernels.errors import ConfigError, WeightsError
from r2n_kernels.fold.quantization import Quantization, Range, hash_trunk
from r2n_kernels.reference import Res2Net

pytest.importorskip("nncf")
from r2n_kernels.quantize import Calibration, on_openvino, quantize

# no multiple of 8, deep stem, pooled shortcuts; and grouped chains of two splits
CONFIGS = {
    "odd": Res2NetConfig(
        (1, 2, 1, 1), planes=(13, 23, 33, 47), base_width=30, deep_stem=True, stem_width=9,
        avg_down=True, num_classes=7,
    ),
    "grouped": Res2NetConfig(
        (1, 2, 1, 1), planes=(16, 24, 32, 40), base_width=16, scale=2, cardinality=4,
        num_classes=7, in_chans=1,
    ),
}  # fmt: skip
CFG = {"mean": (0.4,), "std": (0.3,), "input_size": (3, 64, 64)}


def images(config: Res2NetConfig, count: int, height: int = 64, width: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height + count)
    shape = (count, height, width, config.in_chans)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module", params=["odd", pytest.param("grouped", marks=pytest.mark.slow)])
def pair(request, randomize) -> tuple[Res2NetModel, Res2NetModel]:
    """A model in float32, and the same in int8."""
    config = CONFIGS[request.param]
    state = randomize(Res2Net(config)).state_dict()
    cfg = CFG | {key: CFG[key] * config.in_chans for key in ("mean", "std")}
    model = Res2NetModel(config, state, pretrained_cfg=cfg, backend="openvino")
    return model, on_openvino(model, quantize(model, Calibration(images(config, 6))))


@pytest.fixture
def quantization(pair) -> Quantization:
    return pair[1].quantization


def near(a: torch.Tensor, b: torch.Tensor) -> float:
    """The least cosine of what two models say of an image."""
    return F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double()).min().item()


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 65, 97), (7, 32, 71)])
def test_logits_and_maps_are_near_those_in_float32(pair, shape):
    exact, int8 = pair
    x = images(exact.config, *shape)
    assert near(int8(x), exact(x)) > 0.995
    maps = zip(int8.forward_intermediates(x)[1], exact.forward_intermediates(x)[1], strict=True)
    for ours, theirs in maps:
        assert ours.shape == theirs.shape
        assert near(ours, theirs) > 0.99
    embedded = int8.forward_head(int8.forward_features(x), pre_logits=True)
    assert near(embedded, exact.forward_head(exact.forward_features(x), pre_logits=True)) > 0.995


def test_bytes_are_as_floats(pair):
    int8 = pair[1]
    x = images(int8.config, 5)
    mean, std = (torch.tensor(int8.pretrained_cfg[key]) for key in ("mean", "std"))
    floats = ((x / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(int8(floats), int8(x), rtol=0.02, atol=0.02)


def test_batches_are_as_images_alone(pair):
    int8 = pair[1]
    x = images(int8.config, 9)
    alone = torch.cat([int8(one) for one in x.split(1)])
    torch.testing.assert_close(int8(x), alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("of_each_stream", "part"), [(4, 4), (5, 2), (2, 2)])
def test_parts_are_larger_where_all_streams_have_as_many(pair, of_each_stream, part):
    int8 = pair[1]
    streams = min(torch.get_num_threads(), MAX_STREAMS)
    x = images(int8.config, of_each_stream * streams)
    alone = int8(x[-1:])
    torch.testing.assert_close(int8(x)[-1:], alone, rtol=1e-3, atol=1e-3)
    assert [*int8._backend._networks._kept.values()][-1].size == part


def test_it_is_int8_that_runs(pair):
    """All convolutions, which the weights in float32 would not be."""
    int8 = pair[1]
    int8(images(int8.config, 1))
    (network, *_) = int8._backend._networks._kept.values()
    kinds = {}
    for node in network.network.get_runtime_model().get_ops():
        stated = {key: str(value.value) for key, value in node.get_rt_info().items()}
        kinds.setdefault(stated["layerType"], set()).add(stated["primitiveType"])
    assert all("I8" in kind for kind in kinds["Convolution"])
    assert "(int8)" in repr(int8)
    assert "(int8)" not in repr(pair[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_no_image_is_not_hidden(pair, value):
    """The network in float32 takes it over: no range clamps it to what looks like an answer."""
    exact, int8 = pair
    x = torch.zeros(2, exact.config.in_chans, 48, 48)
    x[1, 0, 5, 5] = value
    torch.testing.assert_close(int8(x)[1], exact(x)[1], equal_nan=True)


def test_bfloat16(pair):
    exact, int8 = pair
    x = images(exact.config, 3)
    half = copy.deepcopy(int8).bfloat16()
    assert half(x).dtype == torch.bfloat16
    assert near(half(x).float(), exact(x)) > 0.99


def test_copies_and_pickles_stay_int8(pair):
    int8 = pair[1]
    x = images(int8.config, 2)
    for other in (copy.deepcopy(int8), pickle.loads(pickle.dumps(int8))):
        assert torch.equal(other(x), int8(x))
        assert "(int8)" in repr(other)


def test_what_stays_float_is_still_looked_at(pair):
    """Images alone are clamped here: sums behind them overflow as in float."""
    state = {name: tensor.clone() for name, tensor in pair[0].state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("bn3.weight"):
            tensor.fill_(1e20)
    made = Quantization({}, {"input:0": Range(-9.0, 9.0, 256)}, hash_trunk(state))
    cfg = pair[0].pretrained_cfg
    model = Res2NetModel(
        pair[0].config, state, pretrained_cfg=cfg, backend="openvino", quantization=made
    )
    assert model(images(model.config, 2)).isnan().all()


def test_from_timm_keeps_it(pair):
    assert "(int8)" in repr(from_timm(pair[1]))


def test_changed_weights_are_refused(pair):
    model = copy.deepcopy(pair[1])
    with torch.no_grad():
        next(model.layer2.parameters()).mul_(1.5)
    with pytest.raises(WeightsError, match="changed after they were quantized"):
        model(images(model.config, 1))


def test_another_classifier(pair):
    exact, model = copy.deepcopy(pair[0]), copy.deepcopy(pair[1])
    state = exact.state_dict() | {"fc.bias": torch.arange(7.0), "fc.weight": -exact.fc.weight}
    for one in (exact, model):
        one.load_state_dict(state)
    x = images(model.config, 2)
    assert near(model(x), exact(x)) > 0.995
    model.reset_classifier(0)
    assert near(model(x), pair[0].forward_head(pair[0].forward_features(x), True)) > 0.995


def test_a_folder_is_read_back(pair, tmp_path):
    exact, int8 = pair
    save_folder(int8, tmp_path / "int8")
    x = images(exact.config, 2)
    found = create_model(f"local-dir:{tmp_path / 'int8'}", pretrained=True)
    assert torch.equal(found(x), int8(x))
    file = tmp_path / "int8" / "model.safetensors"
    config = {"num_classes": 0, "checkpoint": file}
    embedding = create_model(f"local-dir:{tmp_path / 'int8'}", **config)(x)
    assert near(embedding, exact.forward_head(exact.forward_features(x), True)) > 0.995
    maps = create_model(f"local-dir:{tmp_path / 'int8'}", pretrained=True, features_only=True)(x)
    theirs = exact.forward_intermediates(x)[1]
    assert all(near(a, b) > 0.99 for a, b in zip(maps, theirs, strict=True))
    plain = create_model(f"local-dir:{tmp_path / 'int8'}", pretrained=True, backend="torch")
    torch.testing.assert_close(plain(x), exact(x), rtol=1e-4, atol=1e-4)


def test_other_channels_are_other_weights(pair, tmp_path):
    save_folder(pair[1], tmp_path / "int8")
    with pytest.raises(WeightsError, match="changed after they were quantized"):
        create_model(f"local-dir:{tmp_path / 'int8'}", pretrained=True, in_chans=2)


def test_places_that_are_not_there(pair, quantization):
    for place in ("nowhere:0", "layer1.0.conv1:7"):
        ranges = {**quantization.ranges, place: Range(0.0, 1.0, 256)}
        with pytest.raises(WeightsError, match=f"rounds at {place}: no such place here"):
            on_openvino(pair[0], replace(quantization, ranges=ranges))


def test_int8_weights_must_meet_a_range(pair, quantization):
    ranges = {k: v for k, v in quantization.ranges.items() if not k.startswith("layer1.0.conv3:")}
    ranges = {k: v for k, v in ranges.items() if not k.startswith("layer1.0.convs:")}
    with pytest.raises(WeightsError, match=r"says no range of what layer1\.0\.conv3 reads"):
        on_openvino(pair[0], replace(quantization, ranges=ranges))


class TestChoice:
    def build(self, pair, name: str, **how):
        model, int8 = pair
        state = {key: tensor.detach() for key, tensor in model.state_dict().items()}
        how = {"quantization": int8.quantization, **how}
        return build_backend(name, model.config, state, torch.float32, torch.device("cpu"), **how)

    def test_auto_says_what_it_runs(self, pair, caplog):
        with caplog.at_level(logging.INFO, "r2n_kernels.engine"):
            assert self.build(pair, "auto").name == "openvino"
        assert "backend 'openvino' runs int8, as the weights are quantized" in caplog.text

    def test_others_run_floats_and_say_so(self, pair, caplog):
        with caplog.at_level(logging.INFO, "r2n_kernels.engine"):
            assert self.build(pair, "torch").name == "torch"
        assert "backend 'torch' runs not int8, but the float weights" in caplog.text

    def test_auto_without_openvino(self, pair, monkeypatch):
        monkeypatch.setattr("r2n_kernels.engine.find_spec", lambda name: None)
        told = (
            r"quantized for OpenVINO \(.+not installed\): pip install 'r2n_kernels\[openvino\]', "
        )
        with pytest.raises(ConfigError, match=told + "or take backend='torch' for float32"):
            self.build(pair, "auto")
