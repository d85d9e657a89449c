"""Every instance of every variant, executed at a small size from the code of four targets.

Slow: those of each kind of network on one target, in turn; test_headline_runs.py has the headline's
in float16 on one, weekly on all four, and test_network.py the resident chains. Weekly: those of
every network on all four.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.cli.bundled import expand
from r2n_kernels.compiled.build import Cache
from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.instances import Request
from r2n_kernels.compiled.run import RunOptions, execute, run_work, work_of
from r2n_kernels.compiled.summary import TARGETS
from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.weights import config_from_timm, read_config

LIMIT_S = 300  # the headline's instances on all targets, on two cores, with a cold cache
BLOCKS = (2, 2, 2, 2)  # the first two of a stage have every geometry
SHAPE = (2, 40, 48)

SMALL = {name: config.replace(layers=BLOCKS) for name, config in VARIANTS.items()}
# So cut, variants of 50 and 101 layers are one network: the last of its names stands for it
NETWORKS = {config: name for name, config in SMALL.items()}
OTHERS = [*(name for name in NETWORKS.values() if name != HEADLINE), "digits"]
SCHEDULES = ("throughput", "latency")
IN_TURN = [  # others are between these in every size; test_run.py has a small network in float32
    ("res2net50_14w_8s", "sm_80", SCHEDULES[1:]),
    ("res2net50_26w_8s", "sm_90", SCHEDULES),
    ("res2next50", "sm_100", SCHEDULES),
    ("res2net50d", "sm_120", SCHEDULES[1:]),
]


def config_of(name: str) -> Res2NetConfig:
    if name == "digits":
        return config_from_timm(read_config(expand("digits")))[0]
    return SMALL[name]


@pytest.fixture(scope="module")
def outcome(pool, tmp_path_factory) -> Callable[..., SimpleNamespace]:
    """outcome(name, dtype, targets, schedules): results; what variants share is run once."""
    cache, seen = Cache(tmp_path_factory.mktemp("small")), set()

    def run(
        name: str, dtype: torch.dtype, targets: Sequence[str] = TARGETS,
        schedules: Sequence[str] = SCHEDULES,
    ) -> SimpleNamespace:  # fmt: skip
        start = time.perf_counter()
        rows, results = [], []
        for target in targets:
            for schedule in schedules:
                request = Request(config_of(name), *SHAPE, dtype, target, schedule)
                found = inspect([request], pool, cache=cache)
                rows += found
                new = [row for row in found if row.instance not in seen]
                seen.update(row.instance for row in new)
                results += execute(work_of([request], new, RunOptions()), pool, run_work)
        return SimpleNamespace(rows=rows, results=results, seconds=time.perf_counter() - start)

    return run


def check(outcome: SimpleNamespace) -> None:
    assert [(str(row.key), row.error) for row in outcome.rows if row.error] == []
    assert [
        (o.request.target, o.step, o.found.faults if o.found else o.error)
        for o in outcome.results
        if o.found is None or o.found.faults
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "schedules"),
    [pytest.param(*case, id="-".join((*case[:2], *case[2]))) for case in IN_TURN],
)
def test_each_in_turn(name, target, schedules, outcome):
    found = outcome(name, torch.bfloat16, [target], schedules)
    check(found)
    kernels = {row.instance.kernel for row in found.rows}
    chain = {"stage_chained" if target == "sm_100" else "stage_images"}
    wanted = chain if schedules == SCHEDULES else set()
    assert {*wanted, "stage_split", "first_stage"} < kernels


@pytest.mark.weekly
@pytest.mark.parametrize("name", [HEADLINE, *OTHERS])
def test_all(name, outcome):
    found = outcome(name, torch.float16)
    check(found)
    if name == HEADLINE and (os.cpu_count() or 1) >= 2:
        assert found.seconds < LIMIT_S


@pytest.mark.weekly
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_other_dtypes(dtype, outcome):
    check(outcome("digits", dtype))
