"""Resident chains, which the interpreter cannot run: their compiled code in the emulator."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.mutation import run_mutants
from r2n_kernels.compiled.run import RunOptions, execute, work_of
from r2n_kernels.config import VARIANTS

from .resident_trials import Chain, chains_of, run_each

BF16 = torch.bfloat16
# odd maps, images that do not fill the last CTA, one and many splits, columns in 1 to 3 parts
FEW = [
    Chain("sm_90", 104, 5, 6, images=5, scale=3),
    Chain("sm_80", 24, 9, 10, images=3, scale=2, dtype=BF16),
    Chain("sm_120", 24, 17, 21, images=2, scale=3),
    Chain("sm_90", 16, 23, 22, images=2, scale=5, dtype=BF16),
    Chain("sm_90", 24, 13, 14, images=3, scale=3, batch=256),  # rows in 3 parts
]
few = pytest.mark.parametrize(
    "chain",
    [pytest.param(c, id=str(c), marks=[] if c == FEW[1] else pytest.mark.slow) for c in FEW],
)


def run(pool, what: str, chain: Chain):
    ((_, found),) = pool.map(run_each, [(what, chain)])
    if isinstance(found, Exception):
        raise found
    return found


@few
def test_right_in_every_order(chain, pool):
    found = run(pool, "right", chain)
    assert found["faults"] == []
    assert (found["spill"], found["macs"]) == (0, 0)
    assert found["l2"] == pytest.approx(1, rel=0.2)  # rows of 48 bytes are 1.5 sectors


@few
def test_a_poisoned_image_leaves_the_others_and_the_planes_alone(chain, pool):
    found = run(pool, "leaves_alone", chain)
    assert found["same"] == [n != 1 for n in range(chain.images)]
    assert found["poisoned"]
    assert (found["unwritten"], found["last group"], found["planes"]) == (0, 0, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "count"),
    [
        ("res2net50_14w_8s", "sm_90", 4),
        ("res2net50_48w_2s", "sm_80", 1),
        ("res2net50_26w_6s", "sm_120", 3),
        ("res2next50", "sm_90", 4),
    ],
)
def test_chains_of_variants(name, target, count, pool):
    """Where a variant has the headline's widths and scale, test_headline_runs.py runs them."""
    chains = list(chains_of(VARIANTS[name], target))
    assert len(chains) == count
    for chain, found in pool.map(run_each, [("right", chain) for chain in chains]):
        assert (found["faults"], found["spill"], found["macs"]) == ([], 0, 0), str(chain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        Chain("sm_90", 24, 6, 5, scale=3),
        pytest.param(  # rows in 2 parts: half a minute
            Chain("sm_90", 24, 11, 12, scale=3, batch=256), marks=pytest.mark.weekly
        ),
        Chain("sm_80", 32, 12, 13, scale=3),
    ],
    ids=str,
)
def test_no_missing_barrier_is_overlooked(chain, pool, cache):
    """Each is dropped alone: a race is reported, unless nothing changes."""
    request = chain.request
    rows = inspect([request], pool, cache=cache, kernel="stage_*")
    (outcome,) = execute(work_of([request], rows, RunOptions()), pool, run_mutants)
    assert {mutant.verdict for mutant in outcome.found} <= {"reported", "harmless"}
    dropped = [m for m in outcome.found if m.change == "no bar.sync"]
    assert sum(m.verdict == "reported" for m in dropped) >= 2
