"""Every instance of every variant, executed at a small size from the code of four targets."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.cli.bundled import expand
from r2n_kernels.compiled.build import Cache
from r2n_kernels.compiled.inspection import inspect
from r2n_kernels.compiled.instances import Request
from r2n_kernels.compiled.run import RunOptions, execute, run_work, work_of
from r2n_kernels.compiled.summary import TARGETS
from r2n_kernels.config import HEADLINE, VARIANTS
from r2n_kernels.weights import config_from_timm, read_config

LIMIT_S = 300  # the headline's instances on all targets, on two cores, with a cold cache
BLOCKS = (2, 2, 2, 2)  # the first two of a stage have every geometry
SHAPE = (2, 40, 48)

WEEKLY = ("res2net50_26w_6s", "res2net50_48w_2s", "res2net101d")  # between others in every size


def digits():
    return config_from_timm(read_config(expand("digits")))[0]


@pytest.fixture(scope="module")
def outcome(pool, tmp_path_factory):
    """outcome(name, dtype): results on all targets; what variants share is run once."""
    cache, seen = Cache(tmp_path_factory.mktemp("small")), set()

    def run(name: str, dtype: torch.dtype) -> SimpleNamespace:
        start = time.perf_counter()
        config = digits() if name == "digits" else VARIANTS[name].replace(layers=BLOCKS)
        requests = [
            Request(config, *SHAPE, dtype, target, schedule)
            for target in TARGETS
            for schedule in ("throughput", "latency")
        ]
        results, rows = [], []
        for request in requests:
            found = inspect([request], pool, cache=cache)
            rows += found
            new = [row for row in found if row.instance not in seen]
            seen.update(row.instance for row in new)
            results += execute(work_of([request], new, RunOptions()), pool, run_work)
        return SimpleNamespace(
            rows=rows, results=results, seconds=time.perf_counter() - start
        )  # fmt: skip

    return run


def check(outcome) -> None:
    assert [(str(row.key), row.error) for row in outcome.rows if row.error] == []
    assert [
        (o.request.target, o.step, o.found.faults if o.found else o.error)
        for o in outcome.results
        if o.found is None or o.found.faults
    ] == []


@pytest.mark.slow
def test_the_headline(outcome):
    found = outcome(HEADLINE, torch.float16)
    check(found)
    kernels = {o.instance.kernel for o in found.results}
    assert {"stage_chained", "stage_split", "first_stage"} < kernels
    if (os.cpu_count() or 1) >= 2:
        assert found.seconds < LIMIT_S


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.weekly if name in WEEKLY else pytest.mark.slow)
        for name in (*(n for n in VARIANTS if n != HEADLINE), "digits")
    ],
)
def test_the_others(name, outcome):
    check(outcome(name, torch.float16))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_other_dtypes(dtype, outcome):
    check(outcome("digits", dtype))
