from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.errors import ConfigError
from r2n_kernels.plan import build_plan
from r2n_kernels.reference import Res2Net

# G MACs and M activations at 224x224, as timm's results files and model cards round them
CARDS = {
    "res2net50_26w_4s": (4.3, 12.6),
    "res2net101_26w_4s": (8.1, 18.4),
    "res2net50_26w_6s": (6.3, 15.3),
    "res2net50_26w_8s": (8.3, 17.9),
    "res2net50_48w_2s": (4.2, 11.7),
    "res2net50_14w_8s": (4.2, 13.3),
    "res2next50": (4.2, 13.7),
    "res2net50d": (4.5, 13.4),
    "res2net101d": (8.3, 19.2),
}
ODD = Res2NetConfig(layers=(1, 2), planes=(9, 14), scale=3, in_chans=5, num_classes=3)
SHAPES = [(1, 224, 224), (2, 65, 97), (1, 33, 32)]


def counted(config: Res2NetConfig, batch: int, height: int, width: int) -> dict[str, int]:
    """MACs, activations and buffer shapes of the reference, counted by hooks on a meta forward."""
    total = {"macs": 0, "activations": 0}

    def count(module, args, output):
        total["activations"] += output.numel()
        per_output = module.weight[0].numel()
        total["macs"] += output.numel() * per_output

    with torch.device("meta"):
        model = Res2Net(config).eval()
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(count)
        model(torch.empty(batch, config.in_chans, height, width))
    return total


def test_headline_figures_are_exact():
    plan = build_plan(VARIANTS[HEADLINE], 1, 224, 224)
    assert plan.macs == 8_066_974_464
    assert plan.activations == 18_446_168
    assert plan.config.parameters == 45_206_688


@pytest.mark.parametrize("name", VARIANTS)
def test_figures_round_to_the_model_cards(name):
    plan = build_plan(VARIANTS[name], 1, 224, 224)
    assert (round(plan.macs / 1e9, 1), round(plan.activations / 1e6, 1)) == CARDS[name]


def sized() -> Iterator[Any]:
    """Every configuration at one size, some at all sizes, the others there are slow."""
    for name, config in {**VARIANTS, "odd": ODD}.items():
        for shape in SHAPES:
            often = shape == SHAPES[1] or name in (HEADLINE, "res2net50d", "odd")
            marks = [] if often else [pytest.mark.slow]
            yield pytest.param(config, shape, id=f"{name}-{shape}", marks=marks)


@pytest.mark.parametrize(("config", "shape"), [*sized()])
def test_macs_and_activations_equal_a_count_of_the_reference(config, shape):
    plan, expected = build_plan(config, *shape), counted(config, *shape)
    assert {"macs": plan.macs, "activations": plan.activations} == expected
    assert plan.executed_macs >= plan.macs


@pytest.mark.parametrize("config", [*VARIANTS.values(), ODD], ids=[*VARIANTS, "odd"])
def test_parameters_equal_a_count_of_the_reference(config):
    with torch.device("meta"):
        model = Res2Net(config)
    assert config.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_feature_shapes_equal_the_reference(shape):
    for config in (VARIANTS["res2net50d"], ODD):
        with torch.device("meta"):
            maps = Res2Net(config).feature_maps(torch.empty(shape[0], config.in_chans, *shape[1:]))
        plan = build_plan(config, *shape)
        shapes = [plan.buffers[name].shape for name in plan.features]
        assert shapes == [tuple(m.shape) for m in maps]


def test_every_buffer_is_written_before_it_is_read_and_freed_once():
    plan = build_plan(VARIANTS["res2net101d"], 2, 65, 97)
    written, freed = {"input"}, []
    for step in plan.steps:
        assert set(step.reads) <= written - set(freed), step.name
        written |= set(step.writes)
        freed += step.frees
    assert sorted(freed) == sorted(plan.buffers)


def test_bytes_and_launches_scale_as_documented():
    one, two = (build_plan(VARIANTS[HEADLINE], n, 224, 224) for n in (1, 2))
    half = build_plan(VARIANTS[HEADLINE], 1, 224, 224, torch.bfloat16)
    assert one.launches == two.launches == 367
    for name in ("bytes_read", "bytes_written"):
        assert getattr(two, name) == 2 * getattr(one, name) == 4 * getattr(half, name)
    assert two.weight_bytes == one.weight_bytes == 2 * half.weight_bytes


def test_a_layer_adds_in_place_into_one_buffer():
    steps = build_plan(VARIANTS[HEADLINE], 1, 224, 224).steps
    written = {step.writes for step in steps if step.op == "conv3"}
    assert written == {(f"layer{i}.0.out",) for i in (1, 2, 3, 4)}


def test_a_stage_block_moves_what_its_launches_say():
    step = {s.name: s for s in build_plan(VARIANTS[HEADLINE], 1, 224, 224).steps}["layer3.1.convs"]
    split = 104 * 14 * 14 * 4  # bytes
    assert [launch.what for launch in step.launches] == [
        "copy", "conv", "copy", "add", "conv", "copy", "add", "conv", "copy",
    ]  # fmt: skip
    assert (step.bytes_read, step.bytes_written) == (11 * split, 9 * split)


def test_empty_batch_has_a_plan():
    plan = build_plan(ODD, 0, 40, 40)
    assert plan.macs == 0
    assert plan.buffers[plan.features[2]].shape == (0, 56, 5, 5)


def test_printing_names_every_step():
    plan = build_plan(VARIANTS["res2next50"], 1, 64, 64)
    text = str(plan)
    assert all(step.name in text for step in plan.steps)
    assert "GMACs" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 31}, "at least 32x32, got 31x64"),
        ({"width": 8}, "at least 32x32, got 64x8"),
        ({"batch": -1}, "batch must be 0 or more, got -1"),
        ({"backend": "tpu"}, "no plan for backend 'tpu'"),
    ],
)
def test_bad_requests_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        build_plan(**{"config": ODD, "batch": 1, "height": 64, "width": 64, **change})
