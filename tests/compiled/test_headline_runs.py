"""Every instance of the headline model, 224 px, float16, executed from its compiled code."""

from __future__ import annotations

import pytest

from r2n_kernels.compiled import baseline as baselines
from r2n_kernels.compiled.run_table import conflicts, efficiency
from r2n_kernels.compiled.trial import How
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.plan import build_plan

EFFICIENT = 0.8
# Steps whose stores use less of their sectors at batch 1, and why
NARROW_STORES = {
    "layer2.0.convs": "56-wide groups: 3.5 sectors, tiles of 32 columns end in half ones",
    "layer2.1.conv1": "56-wide groups",
    "layer2.1.convs": "56-wide groups",
    "layer3.0.conv1": "104-wide groups: 6.5 sectors",
    "layer3.0.convs": "104-wide groups",
    "layer3.1.convs": "104-wide groups",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def every(headline, pool):
    return baselines.run(headline.rows, pool)


@pytest.fixture(params=baselines.TARGETS)
def results(request, every):
    """(unit, trial, tried) of one target."""
    return [result for result in every if result[0].request.target == request.param]


def faults(results):
    """All that is wrong: an instance that cannot run, numbers, races, bounds, alignment."""
    return [
        (trial.step, trial.instance.name, tried if isinstance(tried, str) else tried.faults)
        for _, trial, tried in results
        if isinstance(tried, str) or tried.faults
    ]


def test_right_and_legal(results):
    assert faults(results) == []
    assert len(results) == len({trial.instance for _, trial, _ in results}) > 50


def step_of(unit, trial, tried):
    """The plan's step that was run."""
    request = unit.request
    plan = build_plan(
        request.config, tried.images, 224, 224, request.dtype, "triton",
        target=TARGETS[request.target], as_batch=request.batch,
    )  # fmt: skip
    return next(step for step in plan.steps if step.name == trial.step)


def test_macs_are_those_of_the_plan(results):
    for result in results:
        step = step_of(*result)
        assert result[2].counters.macs == step.executed_macs, step.name


@pytest.mark.parametrize("batch", baselines.BATCHES)
def test_bytes_through_l2_are_those_of_the_plan(batch, results):
    """Over all instances; a single one differs where lanes of a warp read the same pixel."""
    mine = [result for result in results if result[0].request.batch == batch]
    planned = sum(step_of(*result).bytes_l2 for result in mine)
    assert planned == pytest.approx(sum(t.counters.global_bytes for _, _, t in mine), rel=0.05)


def test_sectors_are_used(results):
    """Of GEMMs at batch 1: loads everywhere, stores but for the list."""
    narrow = set()
    for unit, trial, tried in results:
        if unit.request.batch != 1 or not trial.instance.wants_tensor_cores:
            continue
        assert efficiency(tried.counters, ("ld", "cp.async")) >= EFFICIENT, trial.step
        if efficiency(tried.counters, ("st",)) < EFFICIENT:
            narrow.add(trial.step)
    assert narrow == set(NARROW_STORES)


def test_no_bank_conflicts(results):
    assert [t.step for _, t, tried in results if conflicts(tried.counters) > 0] == []


def test_as_in_the_baseline(results, headline, check_accepted):
    """Bytes through L2, distinct bytes, instructions."""
    target = results[0][0].request.target
    rows = [row for row in headline.rows if row.instance.target == target]
    compiled = baselines.summaries(baselines.requests(targets=[target]), rows)
    check_accepted(baselines.executed(compiled, rows, results))


@pytest.mark.parametrize("target", baselines.TARGETS)
def test_a_random_order_of_warps(target, headline, pool):
    """Races are found by happens-before in any order: all kernels on one target, else chains."""
    rows = [
        row
        for row in headline.rows
        if row.instance.target == target
        and (target == "sm_90" or row.instance.kernel.startswith("stage"))
    ]
    assert rows
    assert faults(baselines.run(rows, pool, How("random", (1,)))) == []
