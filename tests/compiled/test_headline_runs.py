"""Every instance of the headline model, 224 px, float16, executed from its compiled code."""

from __future__ import annotations

import pytest

from r2n_kernels.compiled.instances import plan_of
from r2n_kernels.compiled.run import (
    LOADS,
    STORES,
    RunOptions,
    conflicts,
    efficiency,
    execute,
    run_work,
    work_of,
)
from r2n_kernels.compiled.summary import BATCHES, TARGETS, executed, requests, summaries

from .test_headline import CHAINS

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
# test_headline.py compares all code with what was accepted, and what is accepted has been executed.
# The instructions of other targets are executed by test_variants.py and test_network.py.
SM_90 = [t if t == "sm_90" else pytest.param(t, marks=pytest.mark.weekly) for t in TARGETS]


def run(rows, pool, options):
    return execute(work_of(requests(), rows, options), pool, run_work)


@pytest.fixture(scope="module", params=SM_90)
def results(request, headline, pool):
    """Outcomes of one target."""
    return run(headline(request.param).rows, pool, RunOptions())


def faults(results):
    """All that is wrong: an instance that cannot run, numbers, races, bounds, alignment."""
    return [
        (o.step, o.instance.name, o.found.faults if o.found else o.error)
        for o in results
        if o.found is None or o.found.faults
    ]


def test_right_and_legal(results):
    assert faults(results) == []
    assert len(results) == len({outcome.instance for outcome in results}) > 50


def step_of(outcome):
    """Find the plan's step that was run."""
    plan = plan_of(outcome.request, outcome.found.images)
    return next(step for step in plan.steps if step.name == outcome.step)


def test_macs_are_those_of_the_plan(results):
    for outcome in results:
        step = step_of(outcome)
        assert outcome.found.counters.macs == step.executed_macs, step.name


@pytest.mark.parametrize("batch", BATCHES)
def test_bytes_through_l2_are_those_of_the_plan(batch, results):
    """Over all instances; a single one differs where lanes of a warp read the same pixel."""
    mine = [outcome for outcome in results if outcome.request.batch == batch]
    planned = sum(step_of(outcome).bytes_l2 for outcome in mine)
    assert planned == pytest.approx(sum(o.found.counters.global_bytes for o in mine), rel=0.05)


def test_sectors_are_used(results):
    """Of GEMMs at batch 1: loads everywhere, stores but for the list."""
    narrow = set()
    for outcome in results:
        counters = outcome.found.counters
        if outcome.request.batch != 1 or not outcome.instance.wants_tensor_cores:
            continue
        assert efficiency(counters, LOADS) >= EFFICIENT, outcome.step
        if efficiency(counters, STORES) < EFFICIENT:
            narrow.add(outcome.step)
    assert narrow == set(NARROW_STORES)


def test_no_bank_conflicts(results):
    assert [o.step for o in results if conflicts(o.found.counters) > 0] == []


def test_as_in_the_baseline(results, headline, check_accepted):
    """Bytes through L2, distinct bytes, instructions."""
    target = results[0].request.target
    rows = headline(target).rows
    compiled = summaries(requests(targets=[target]), rows)
    check_accepted(executed(compiled, rows, results))


def in_random_order(rows, pool):
    return faults(run(rows, pool, RunOptions("random", (1,))))


@pytest.mark.weekly
@pytest.mark.parametrize("target", TARGETS)
def test_a_random_order_of_warps(target, headline, pool):
    """Races are found by happens-before in any order: each kernel once."""
    first = {row.instance.kernel: row for row in reversed(headline(target).rows)}
    assert set(CHAINS[target]) < set(first)
    assert in_random_order([*first.values()], pool) == []


@pytest.mark.parametrize("target", SM_90)
def test_a_random_order_of_warps_in_every_chain(target, headline, pool):
    """Its splits wait for one another: the first of each kernel is above."""
    mine = [r for r in headline(target).rows if r.instance.kernel in CHAINS[target]]
    last = {row.instance.kernel: row for row in reversed(mine)}
    chains = [row for row in mine if row not in last.values()]
    assert len(chains) == 4 - len(last)
    assert in_random_order(chains, pool) == []
