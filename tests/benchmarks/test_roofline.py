from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from r2n_kernels.benchmarks import roofline
from r2n_kernels.benchmarks.devices import DEVICES
from r2n_kernels.benchmarks.records import read
from r2n_kernels.benchmarks.roofline import COMPUTE, INT8, L2, LAUNCH, MEMORY, SCHEDULES, predict
from r2n_kernels.config import HEADLINE, VARIANTS

HEAD = VARIANTS[HEADLINE]
H100 = DEVICES["H100-SXM"]
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def on(device, schedule="r2n_kernels", batch=256):
    return predict(schedule, HEAD, batch, 224, 224, device)


def with_l2(device, factor):
    low, high = device.l2.low * factor, device.l2.high * factor
    return dataclasses.replace(device, l2=dataclasses.replace(device.l2, low=low, high=high))


def test_published_rates_are_met():
    off = {
        (p.device.name, p.schedule): rate / published - 1
        for published, p in roofline.residuals()
        for rate in p.rates
    }
    assert len(off) == 4
    assert abs(off.pop(("RTX-3090", "eager"))) < 0.06
    assert all(abs(error) < 0.04 for error in off.values()), off


def test_what_an_h200_showed_is_on_record():
    rates: dict[str, int] = {}
    for path in sorted(RESULTS.glob("2026-11-28-h200*.jsonl")):
        for record in read(path).records:
            if (record.batch, record.scope) == (256, "model"):
                rates[record.subject] = max(
                    rates.get(record.subject, 0), round(record.batch / record.median)
                )
    compiled = max(rate for subject, rate in rates.items() if "torch.compile" in subject)
    found = rates["timm eager, channels_last"], compiled, rates["r2n_kernels, triton"]
    assert found == tuple(roofline.MEASURED.values())


def test_the_share_of_arithmetic_is_the_fit(monkeypatch):
    def rms(share):
        monkeypatch.setattr(roofline, "COMPUTE", share)
        found = roofline.residuals()
        return math.hypot(*(rate / published - 1 for published, p in found for rate in p.rates))

    assert rms(COMPUTE) < min(rms(COMPUTE - 0.01), rms(COMPUTE + 0.01))


def test_a_step_takes_its_longest_part():
    found = on(H100)
    (plan,) = found.plans
    assert [time.name for time in found.steps] == [step.name for step in plan.main]
    for step, time in zip(plan.main, found.steps, strict=True):
        weights = sum(conv.weights for conv in step.convs) * 2
        parts = {
            "compute": 2 * step.executed_macs / (COMPUTE * 989e12),
            "memory": (step.bytes_read + step.bytes_written + weights) / (MEMORY * 3350e9),
            "launch": LAUNCH * len(step.launches),
        }
        for end, l2 in ((time.slow, 7.0e12), (time.fast, 9.7e12)):
            parts["L2"] = step.bytes_l2 / (L2 * l2)
            assert end.seconds == pytest.approx(max(parts.values()), rel=1e-9)
            assert parts[end.bound] == max(parts.values())


def test_int8_multiplies_and_moves_as_its_plan_and_the_maker_say():
    found, half = on(H100, INT8), on(H100)
    (plan,) = found.plans
    for step, time in zip(plan.main, found.steps, strict=True):
        size, peak = (1, 1979e12) if step.name.startswith("layer") else (2, 989e12)
        parts = {
            "compute": 2 * step.executed_macs / (COMPUTE * peak),
            "memory": (step.bytes_read + step.bytes_written + step.weights * size)
            / (MEMORY * 3350e9),
            "L2": step.bytes_l2 / (L2 * 7.0e12),
            "launch": LAUNCH * len(step.launches),
        }
        assert time.slow.seconds == pytest.approx(max(parts.values()), rel=1e-9)
    assert 1.3 < found.rates[0] / half.rates[0] < 2
    assert all(1.9 < device.int8 / device.flops < 4.1 for device in DEVICES.values())


def test_everybody_is_bound_by_a_slow_l2():
    for schedule in SCHEDULES:
        found = on(with_l2(H100, 1e-3), schedule)
        assert {end.bound for step in found.steps for end in (step.slow, step.fast)} == {"L2"}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("batch", [1, 256])
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_ranges(device, batch, schedule):
    found = on(device, schedule, batch)
    assert all(step.fast.seconds <= step.slow.seconds for step in found.steps)
    assert 0 < found.rates[0] <= found.rates[1]
    assert found.rates == tuple(batch / seconds for seconds in reversed(found.seconds))
    faster = on(with_l2(device, 1.1), schedule, batch)
    for step, other in zip(found.steps, faster.steps, strict=True):
        assert other.slow.seconds <= step.slow.seconds
        assert other.fast.seconds <= step.fast.seconds


def test_a_library_without_multicast_has_one_tile():
    assert len(on(DEVICES["A100-SXM-80GB"], "compiled").plans) == 1
    assert len(on(H100, "r2n_kernels").plans) == 1
    least, most = on(H100, "compiled").bytes_l2
    assert least < most


def test_the_headline_on_h100():
    """A script of its own gave these, but for 2x2 blocks with multicast instead of pairs."""
    expected = {"eager": (7900, 9900), "compiled": (11500, 16200)}
    for schedule, ends in expected.items():
        assert on(H100, schedule).rates == pytest.approx(ends, rel=0.03)


def test_fusion_is_predicted_to_pay():
    for end in (0, 1):
        rates = [on(H100, schedule).rates[end] for schedule in SCHEDULES]
        assert rates == sorted(rates)
