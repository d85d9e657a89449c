from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.config import VARIANTS
from r2n_kernels.plan import Plan, build_plan

CONFIG = VARIANTS["res2net50_26w_4s"]


def counts(plan: Plan) -> dict[str, int]:
    return {step.name: count for step, count in plan.distinct_steps()}


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_the_second_block_of_a_layer_stands_for_those_after_it(backend):
    plan = build_plan(CONFIG, 1, 224, 224, torch.float16, backend)
    found = counts(plan)
    assert sum(found.values()) == len(plan.steps)
    for op in ("conv1", "convs"):
        assert [found[f"layer{i}.1.{op}"] for i in (1, 2, 3, 4)] == [2, 3, 5, 2]
        assert [found[f"layer{i}.0.{op}"] for i in (1, 2, 3, 4)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("layer1.2.convs", {"options": {"chained": True}}),
        ("layer1.2.conv1", {"writes": ("layer1.0.planes", "layer1.y")}),  # a plane more
        ("layer1.2.conv3", {"convs": ()}),
    ],
)
def test_other_options_buffers_or_convolutions_are_other_work(name, change):
    plan = build_plan(CONFIG, 1, 224, 224, torch.float16, "triton")
    steps = [dataclasses.replace(s, **change) if s.name == name else s for s in plan.steps]
    found = counts(dataclasses.replace(plan, steps=tuple(steps)))
    assert (found[name.replace(".2", ".1")], found[name]) == (1, 1)
