"""Cases of every op and the runners that they take."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.triton_target import kernel_target
from r2n_kernels.kernels.call import launch
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.plan import build_plan
from r2n_kernels.proof.steps import REPEATABLE, cases, random_weights

DEVICE = torch.device("cpu") if interpreted() else torch.device("cuda", 0)
HALF = torch.float16
TINY = Res2NetConfig(
    (2, 1), planes=(9, 14), scale=3, num_classes=3, deep_stem=True, stem_width=5, avg_down=True
)
PLAN, POOLED = (
    build_plan(TINY, 2, *size, HALF, "triton", target=kernel_target(DEVICE), schedule="throughput")
    for size in ((33, 35), (62, 121))
)
IMAGES = torch.randn(2, 3, 33, 35, generator=torch.Generator().manual_seed(0)).to(DEVICE, HALF)


def nothing(calls) -> None:
    """A runner that launches nothing."""


@pytest.mark.parametrize("images", [None, IMAGES], ids=["noise", "images"])
def test_every_step_passes_and_none_does_that_does_not_run(images):
    found = list(cases(PLAN, DEVICE, images=images))
    assert [case.step for case in found] == list(PLAN.steps)
    found += cases(POOLED, DEVICE, only=lambda step: step.op == "conv_pool")
    assert {case.step.op for case in found} == {
        name for name, op in all_ops().items() if not op.gluon
    }
    for case in found:
        before = {name: tensor.clone() for name, tensor in case.buffers.items()}
        assert case.verdict().passed, case.step.name
        assert not case.verdict(nothing).passed, case.step.name
        assert all(torch.equal(before[name], case.buffers[name]) for name in before)


def test_a_runner_is_told_the_launches_and_may_run_some():
    (case,) = cases(PLAN, DEVICE, only=lambda step: step.name == "layer1.0.conv1")
    seen = []

    def run(calls):
        seen.extend(call.name for call in calls)
        launch(calls)

    out = case.run(run)
    assert seen == ["conv1_kernel"]
    assert torch.equal(out["layer1.y"], case.run()["layer1.y"])
    assert torch.equal(case.run(nothing)["layer1.y"], case.buffers["layer1.y"])


def test_images_flow_through_the_twins():
    """A case has what its predecessors made, however the caller used the ones before."""
    (pool,) = cases(PLAN, DEVICE, only=lambda step: step.op == "maxpool", images=IMAGES)
    stem = [step.name for step in PLAN.steps if step.op == "conv"][-1]
    for case in cases(PLAN, DEVICE, images=IMAGES):
        if case.step.name == stem:
            made = case.twin()["stem"]
        for tensor in case.buffers.values():
            tensor.fill_(float("nan"))
    assert torch.equal(pool.buffers["stem"], made)
    assert made.std() > 0


def test_the_twin_in_a_wider_dtype_is_less_rounded():
    (case,) = cases(PLAN, DEVICE, only=lambda step: step.op == "linear")
    narrow, wide = case.twin()["logits"], case.twin(torch.float64)["logits"]
    assert (narrow.dtype, wide.dtype) == (HALF, torch.float64)
    assert torch.allclose(narrow.double(), wide, rtol=1e-2, atol=1e-3)
    assert not torch.equal(narrow.double(), wide)


def test_weights_are_seeded_and_scaled():
    one, small = (random_weights(TINY, HALF, DEVICE, scale) for scale in (1.0, REPEATABLE))
    random_weights.cache_clear()
    again = random_weights(TINY, HALF, DEVICE)
    for name, conv in one.items():
        assert torch.equal(conv.weight, again[name].weight)
        assert torch.equal(conv.bias * REPEATABLE, small[name].bias)
    assert one["layer1.0.conv3"].shortcut.abs().sum() > 0
