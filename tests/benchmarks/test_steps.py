from __future__ import annotations

import dataclasses
import itertools
import json
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.benchmarks import steps
from r2n_kernels.benchmarks.peak import Peak
from r2n_kernels.benchmarks.recorder import Recorder
from r2n_kernels.benchmarks.records import Record
from r2n_kernels.benchmarks.tables import step_table
from r2n_kernels.config import VARIANTS
from r2n_kernels.engine.torch_network import OPS
from r2n_kernels.measure.timing import Samples
from r2n_kernels.plan import build_plan
from r2n_kernels.text import text_table

MODEL = "res2net50_48w_2s"
CPU = torch.device("cpu")
PEAK = Peak(1e12, 1e10, "a test")


def time_steps(**options):
    given = {"backend": "torch", "rounds": 2, "seconds": 0.001, **options}
    return list(steps.time_steps(MODEL, 1, 33, 40, torch.float32, CPU, **given))


@pytest.fixture(scope="module")
def timed():
    return time_steps(twice=True)


def test_every_kind_of_the_plan_once(timed):
    plan = build_plan(VARIANTS[MODEL], 1, 33, 40)
    mine = [step for step in plan.steps if step.op in OPS]
    assert sum(result.count for result in timed) == len(mine)
    named = [result.step.name for result in timed]
    assert named == [step.name for step, _ in plan.distinct_steps() if step in mine]
    assert sum(r.count * r.step.macs for r in timed) == sum(s.macs for s in mine)


def test_all_are_right_and_timed(timed):
    for result in timed:
        assert result.verdict.passed
        assert len(result.ours.rounds) == len(result.twin.rounds) == len(result.again.rounds) == 2


def test_no_time_of_a_wrong_step(monkeypatch):
    right = OPS["maxpool"]
    monkeypatch.setitem(OPS, "maxpool", lambda *args: right(*args) * 1.01)
    wrong = [result for result in time_steps() if not result.verdict.passed]
    (result,) = wrong
    assert (result.step.op, result.ours, result.twin) == ("maxpool", None, None)
    _, row = step_table([result], PEAK)
    assert row[3] == "wrong"
    titles, row = step_table([result], dataclasses.replace(PEAK, l2=1e11))
    assert (len(row), row[-1]) == (len(titles), "-")
    plan = build_plan(VARIANTS[MODEL], 1, 33, 40)
    assert list(Recorder(MODEL, CPU).steps(result, plan, PEAK)) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["res2next50", "res2net50d", "res2net50_26w_8s"])
def test_every_op_of_other_variants(model):
    """Groups, a deep stem, average pools in shortcuts."""
    for pair in steps.torch_pairs(model, 2, 33, 40, torch.float32, CPU):
        assert pair.verdict.passed, pair.step.name


def test_bytes_are_those_of_the_plan(timed):
    result = next(r for r in timed if r.step.name == "layer3.0.conv1")
    (conv,) = result.step.convs
    moved = conv.N * conv.H * conv.W * (conv.Ci + conv.Co) + conv.weights
    assert result.bytes == 4 * moved


def test_the_table(timed):
    titles, *rows = step_table(timed, PEAK)
    lines = text_table([titles, *rows])
    assert len({len(line) for line in lines}) == 1
    assert [row[0] for row in rows] == [result.step.name for result in timed]
    assert titles[-2:] == ("of roofline", "error")


@pytest.mark.parametrize(
    ("peak", "bound", "share"),
    [
        (Peak(1e9, 1e12, "", 1e12), "compute", 0.5),
        (Peak(1e12, 1e9, "", 1e12), "memory", 0.25),
        (Peak(1e12, 1e12, "", 1e9), "L2", 1.0),
        (Peak(1e12, 1e9, ""), "memory", 0.25),
    ],
)
def test_the_longest_bound_is_the_roofline(peak, bound, share, timed):
    """A step of 2e6 operations, 1e6 bytes of memory and 4e6 of L2, in 4 ms."""
    step = SimpleNamespace(name="a", op="conv3", macs=10**6, bytes_read=10**6, bytes_written=0,
                           weights=0, bytes_l2=4 * 10**6)  # fmt: skip
    samples = Samples("", ((0.004,),))
    result = steps.StepResult(step, 1, timed[0].verdict, samples, samples, None)
    titles, row = step_table([result], peak)
    shown = dict(zip(titles, row, strict=True))
    assert shown["of roofline"] == f"{share:.0%}"
    assert shown.get("bound") == (bound if peak.l2 else None)


def test_records(timed):
    plan = build_plan(VARIANTS[MODEL], 1, 33, 40)
    found = [r for result in timed for r in Recorder(MODEL, CPU).steps(result, plan, PEAK)]
    assert len(found) == 2 * len(timed)
    ours, twin = found[:2]
    assert (ours.subject, twin.subject) == ("r2n_kernels, torch", "PyTorch twin")
    assert (ours.scope, ours.step, ours.count) == ("step", "conv1", 1)
    assert (len(ours.again), len(twin.again)) == (2, 0)
    assert json.loads(ours.to_json())["peak"] == PEAK.to_json()
    assert Record.from_json(ours.to_json()) == ours
    assert {record.macs for record in found if record.step == "maxpool"} == {0}


def test_triton_steps_are_held_to_their_twins():
    """In the interpreter, one of the head's; times mean nothing here, so none are taken."""
    pairs = steps.triton_pairs(MODEL, 1, 32, 32, torch.float32, CPU)
    pair = next(pairs)
    assert (pair.step.name, pair.count) == ("input", 1)
    assert pair.verdict.passed
    pair.ours()
    pair.twin()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_triton_steps_on_a_gpu():
    """A few: each of them compiles a kernel."""
    device = torch.device("cuda")
    results = steps.time_steps(
        MODEL, 2, 64, 64, torch.float16, device, "triton", rounds=2, seconds=0.01
    )
    for result in itertools.islice(results, 5):
        assert result.verdict.passed, result.step.name
        assert result.ours.median > 0
