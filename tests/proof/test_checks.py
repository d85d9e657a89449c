"""The whole list at a tiny size, right and with faults that each check must see."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from r2n_kernels.config import Res2NetConfig
from r2n_kernels.kernels.conv3 import conv3
from r2n_kernels.kernels.device import interpreted
from r2n_kernels.kernels.op import all_ops
from r2n_kernels.kernels.stage import stage
from r2n_kernels.proof import checks
from r2n_kernels.proof.networks import POOLED, ForwardPass, Setup
from r2n_kernels.proof.selftest import list_checks, run_checks

HALF = torch.float16
GPU = not interpreted()
TINY = Res2NetConfig((2, 1), planes=(9, 14), scale=3, num_classes=3)
DEEP = TINY.replace(layers=(1, 2), deep_stem=True, stem_width=5, avg_down=True)
FORWARDS = (ForwardPass(TINY, 2, "throughput"), ForwardPass(DEEP, 1, "latency"), POOLED)


@pytest.fixture
def tiny() -> Setup:
    device = torch.device("cuda", 0) if GPU else torch.device("cpu")
    return Setup(device, "tiny", TINY, 32, 2, FORWARDS, (HALF,), 2)


def change(monkeypatch, op, launcher):
    changed = dataclasses.replace(all_ops()[op], launcher=launcher)
    monkeypatch.setitem(all_ops(), op, changed)


def off_by_a_bias(y, w, b, x, out, *, tile):
    return conv3(y, w, b + 0.25, x, out, tile=tile)


def test_all_pass(tiny):
    results = []
    for result in run_checks(list_checks(tiny, results)):
        results.append(result)
    status = {" ".join(r.name.split()): r.outcome.status for r in results}
    on_gpu = {name: status.pop(name) for name in ("graph = eager float16", "speed float16")}
    assert set(status.values()) == {"ok"}, results
    assert list(on_gpu.values()) == (["ok", "measured"] if GPU else ["skipped", "skipped"])
    kernels_run = {name.split()[1] for name in status if name.startswith("kernel ")}
    assert kernels_run == {name for name, op in all_ops().items() if not op.gluon}
    assert len(status) == len(kernels_run) + 4  # schedules, network, repeats of two schedules


def test_a_wrong_kernel_is_seen_by_its_own_line_only(tiny, monkeypatch):
    change(monkeypatch, "conv3", off_by_a_bias)
    outcome = checks.kernel_against_twin(tiny, "conv3", HALF)
    assert outcome.status == "FAIL"
    assert outcome.figures["error"] > outcome.figures["limit"]
    assert checks.kernel_against_twin(tiny, "linear", HALF).status == "ok"
    assert checks.network_against_reference(tiny, HALF).status == "FAIL"


def test_a_kernel_that_writes_nothing_is_seen(tiny, monkeypatch):
    change(monkeypatch, "maxpool", lambda *_, **__: ())
    assert checks.kernel_against_twin(tiny, "maxpool", HALF).status == "FAIL"


def test_a_kernel_that_writes_nan_is_seen(tiny, monkeypatch):
    def poison(y, w, b, x, out, *, tile):
        return conv3(y, w, torch.full_like(b, float("nan")), x, out, tile=tile)

    change(monkeypatch, "conv3", poison)
    outcome = checks.kernel_against_twin(tiny, "conv3", HALF)
    assert outcome.status == "FAIL"
    assert "error nan" in outcome.detail


def test_a_kernel_that_no_network_runs_is_a_failure(tiny):
    shallow = dataclasses.replace(tiny, forwards=FORWARDS[:1])
    outcome = checks.kernel_against_twin(shallow, "avgpool", HALF)
    assert (outcome.status, outcome.detail) == ("FAIL", "no step of the test's networks runs it")


def test_schedules_that_differ_are_seen(tiny, monkeypatch):
    def unequal(planes, w, b, y, *, layout, tile, chained):
        return stage(planes, w, b + chained, y, layout=layout, tile=tile, chained=chained)

    change(monkeypatch, "stage", unequal)
    outcome = checks.chained_equals_split(tiny, HALF)
    assert outcome.status == "FAIL"
    steps = ("layer1.1.convs of batch 2", "layer2.1.convs of batch 1", "layer1.0.convs of batch 1")
    assert outcome.detail == f"differs: {', '.join(steps)}"


def test_a_forward_that_changes_is_seen(tiny, monkeypatch):
    counts = itertools.count()
    outputs = checks._outputs
    monkeypatch.setattr(checks, "_outputs", lambda *a: [t + next(counts) for t in outputs(*a)])
    outcome = checks.repeats_are_identical(tiny, HALF, "latency")
    assert (outcome.status, outcome.detail) == ("FAIL", "2 forwards, different 1")
