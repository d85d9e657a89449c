"""The bundled digits, whose training set calibrates, stay as right as they are in float32."""

from __future__ import annotations

import ctypes
import sys

import pytest
import torch
import torch.nn.functional as F

from r2n_kernels import Res2NetModel, create_model
from r2n_kernels.config import VARIANTS, default_pretrained_cfg
from r2n_kernels.errors import ConfigError
from r2n_kernels.quantize import Calibration, agreement, on_openvino, packages, quantize
from r2n_kernels.reference import Res2Net, digits

nncf = pytest.importorskip("nncf")


def pixels(images) -> torch.Tensor:
    return digits.to_unit(images).mul(255).round().byte().permute(0, 2, 3, 1).contiguous()


def signal_stack() -> bytes:
    stack = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).sigaltstack(None, stack)
    return stack.raw


@pytest.fixture(scope="module")
def sets() -> tuple[Calibration, Calibration]:
    """A quarter of the training set, and the held-out quarter of all."""
    pytest.importorskip("sklearn")
    seen, held, *labels = digits.split()
    labels = [torch.from_numpy(part).long() for part in labels]
    return Calibration(pixels(seen[::4]), labels[0][::4]), Calibration(pixels(held), labels[1])


@pytest.fixture(scope="module")
def model() -> Res2NetModel:
    from r2n_kernels.cli.bundled import DIGITS

    return create_model(f"local-dir:{DIGITS}", pretrained=True, backend="torch")


@pytest.fixture(scope="module")
def int8(model, sets) -> Res2NetModel:
    return on_openvino(model, quantize(model, sets[0], images=100))


def test_held_out_accuracy_drops_by_less_than_half_a_point(model, int8, sets):
    found = agreement(on_openvino(model), int8, sets[1])
    assert found["images"] == 450
    assert found["top1_float32"] == 449 / 450
    assert abs(found["drop"]) <= 0.5
    assert found["top1_equal"] >= 0.995
    assert found["cosine_mean"] > 0.9998
    assert int8.quantization.facts["in_float"] == []
    assert len(int8.quantization.scales) == int8.quantization.facts["convolutions"] == 45


def test_agreement_is_that_of_the_logits(model, int8, sets):
    held = Calibration(sets[1].images[:21])
    found = agreement(on_openvino(model), int8, held)
    ours, theirs = (one(held.images).double() for one in (int8, model))
    assert found["drop"] == 100 * (1 - found["top1_equal"])
    assert "top1_int8" not in found
    cosine = F.cosine_similarity(ours, theirs)
    assert found["cosine_min"] == pytest.approx(cosine.min().item(), abs=1e-5)
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert found["error"] == pytest.approx(error.item(), abs=1e-3)


def test_it_computes_what_nncf_made(model, sets, monkeypatch):
    """The largest weights of the stem are ties, of which a few fall apart: nothing else does."""
    import openvino

    from r2n_kernels.quantize import recipe

    kept = []
    read = recipe.read_recipe
    monkeypatch.setattr(recipe, "read_recipe", lambda graph: kept.append(graph) or read(graph))
    ours = on_openvino(model, quantize(model, Calibration(sets[0].images[:20])))
    (graph,) = kept
    network = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    held = sets[1].images[:40]
    theirs = torch.cat([torch.from_numpy(network(x.numpy())[0].copy()) for x in held.split(1)])
    found = ours(held)
    assert F.cosine_similarity(found, theirs).mean() > 0.9999
    assert (found - theirs).abs().max() < 0.25 * (model(held) - theirs).abs().max()
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    for conv in (conv for step in ours._backend._networks.weights.values() for conv in step):
        int8 = nodes[conv.name].input_value(1).get_node().input_value(0).get_node()
        values = torch.from_numpy(int8.input_value(0).get_node().get_data().copy())
        apart = (values.reshape(conv.weight.shape).int() - conv.weight.int()).abs()
        assert apart.sum() <= (64 if conv.name == "conv1" else 2), conv.name
        assert apart.max() <= 1


@pytest.mark.slow
def test_sensitive_layers_go_back_to_float(model, sets):
    """One channel of a split is 2000 times the others, and its weights are as much smaller.

    While they are judged, the stack for signals is none that a dropped network takes along.
    """
    before, stacks = signal_stack(), []
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for part in ("weight", "bias"):
        state[f"layer1.0.bn1.{part}"][1] *= 2000
    state["layer1.0.convs.0.weight"][:, 1] /= 2000
    wide = Res2NetModel(model.config, state, pretrained_cfg=model.pretrained_cfg, backend="torch")
    seen = Calibration(sets[0].images[::2], sets[0].targets[::2])
    drops = {}
    for allowed in (100, 0.5):
        made = quantize(
            wide, seen, images=50, max_drop=allowed,
            tick=lambda count: stacks.append(signal_stack()),
        )  # fmt: skip
        drops[allowed] = agreement(on_openvino(wide), on_openvino(wide, made), sets[1])["drop"]
    assert stacks[-1] == signal_stack() == before
    assert drops[100] > 20
    assert drops[0.5] < 2
    assert "layer1.0.convs.0" in made.facts["in_float"]
    assert len(made.facts["in_float"]) < 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param("res2net101_26w_4s", marks=pytest.mark.weekly), "res2net50d", "res2next50"],
)
def test_variants_of_random_weights(name, randomize):
    """Small images of noise calibrate, and others of another size are near float32."""
    config = VARIANTS[name].replace(num_classes=50)
    cfg = {**default_pretrained_cfg(name), "num_classes": 50}
    state = randomize(Res2Net(config)).state_dict()
    exact = Res2NetModel(config, state, pretrained_cfg=cfg, backend="openvino")
    noise = torch.Generator().manual_seed(0)
    seen, others = (
        Calibration(torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8))
        for shape in ((4, 96, 96, 3), (5, 65, 97, 3))
    )
    int8 = on_openvino(exact, quantize(exact, seen))
    found = agreement(exact, int8, others)
    assert found["cosine_min"] > 0.999
    assert found["error"] < 0.08
    assert int8.quantization.facts["in_float"] == []


def test_nothing_is_printed(model, sets, capfd):
    quantize(model, Calibration(sets[0].images[:3]))
    assert capfd.readouterr() == ("", "")


def test_a_model_without_a_classifier_is_refused(model, sets):
    for how in ({"num_classes": 0}, {"global_pool": "max"}):
        other = model.config.replace(**how)
        state = {k: v for k, v in model.state_dict().items() if other.num_classes or "fc." not in k}
        other = Res2NetModel(other, state, pretrained_cfg={}, backend="torch")
        with pytest.raises(ConfigError, match="needs a classifier behind global_pool='avg', got "):
            quantize(other, sets[0])


@pytest.mark.parametrize("name", ["nncf", "openvino"])
def test_what_is_missing_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    told = rf"quantizing needs {name}: pip install 'r2n_kernels\[quantize\]'"
    with pytest.raises(ConfigError, match=told):
        packages()


def test_the_environment_is_as_it_was(monkeypatch):
    import os

    for value in (None, "0"):
        monkeypatch.delenv("NNCF_CI", raising=False)
        if value is not None:
            monkeypatch.setenv("NNCF_CI", value)
        packages()
        assert os.environ.get("NNCF_CI") == value
