from __future__ import annotations

import dataclasses

import pytest
import torch

from r2n_kernels.benchmarks.devices import DEVICES
from r2n_kernels.benchmarks.frameworks import CompiledSchedule, EagerSchedule
from r2n_kernels.benchmarks.roofline import (
    COMPUTE,
    MEMORY,
    plan_for,
    rate,
    residuals,
    step_times,
)
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

HEAD = VARIANTS[HEADLINE]
H100 = DEVICES["H100-SXM"]


def test_eager_launches_every_operator():
    plan = EagerSchedule(HEAD, 2, 224, 224, torch.float16).plan()
    assert plan.launches == 637
    assert (plan.bytes_read + plan.bytes_written) / 2e6 == pytest.approx(294, abs=1)


def test_the_compiler_leaves_one_pointwise_kernel_a_convolution():
    plan = CompiledSchedule(HEAD, 2, 224, 224, torch.float16).plan()
    assert plan.launches == 346
    assert (plan.bytes_read + plan.bytes_written) / 2e6 == pytest.approx(173, rel=0.05)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("schedule", [EagerSchedule, CompiledSchedule])
def test_all_multiply_the_same(config, schedule):
    plan = schedule(config, 1, 65, 97, torch.float16).plan()
    assert plan.macs == plan.executed_macs == build_plan(config, 1, 65, 97).macs


def test_published_rates_are_met():
    found = residuals()
    assert len(found) == 4
    for name, schedule, published, predicted in found:
        assert predicted == pytest.approx(published, rel=0.08), (name, schedule)


def test_a_step_takes_its_longest_part():
    plan = plan_for("r2n_kernels", HEAD, 256, 224, 224, H100)
    times = {time.name: time for time in step_times(plan, H100)}
    assert list(times) == [step.name for step in plan.steps]
    (step,) = (step for step in plan.steps if step.name == "layer3.5.conv1")
    flops = 2 * step.executed_macs / (COMPUTE * H100.flops)
    weights = sum(conv.weights for conv in step.convs) * 2
    memory = (step.bytes_read + step.bytes_written + weights) / (MEMORY * H100.bandwidth)
    assert times[step.name].seconds >= max(flops, memory)
    slow = dataclasses.replace(H100, l2_bandwidth=H100.l2_bandwidth / 1e3)
    assert {time.bound for time in step_times(plan, slow)} == {"L2"}
    assert rate(plan, slow) < rate(plan, H100)


def test_fusion_is_predicted_to_pay():
    rates = [rate(plan_for(s, HEAD, 256, 224, 224, H100), H100)
             for s in ("eager", "compiled", "r2n_kernels")]  # fmt: skip
    assert rates == sorted(rates)


def test_devices_name_targets_and_sources():
    for device in DEVICES.values():
        assert device.target in TARGETS
        assert device.source
        assert device.bandwidth < device.l2_bandwidth < device.flops
