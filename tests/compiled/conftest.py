"""Workers that compile and run, and the instances of a small network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache as cache_of
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.compiled import bundling
from r2n_kernels.compiled.baseline import default_path, read
from r2n_kernels.compiled.build import Cache
from r2n_kernels.compiled.gate import compare, table
from r2n_kernels.compiled.inspection import Inspected, inspect
from r2n_kernels.compiled.instances import Request
from r2n_kernels.compiled.pool import Pool
from r2n_kernels.compiled.summary import Summary, requests
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.engine.kernel_backend import pack
from r2n_kernels.reference import Res2Net, randomize

SMALL = Res2NetConfig((2, 1), planes=(20, 24), scale=3, base_width=38, num_classes=10)


STEM = Res2NetConfig((2,), planes=(64,), num_classes=10)  # every op of a plain variant


def stem_request(target: str, batch: int = 2, **changes) -> Request:
    given = {"height": 64, "width": 64, "dtype": torch.float16, **changes}
    return Request(STEM, batch, target=target, **given)


@pytest.fixture(scope="session")
def pool():
    with Pool(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A bundle of the small network, which Triton compiled, for two images of 33x34 on sm_90."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.r2n"
    build_tiny(path)
    return path


def build_tiny(path: Path, jobs: int = 1) -> None:
    state = randomize(Res2Net(SMALL).eval()).state_dict()
    config, packed = pack(SMALL, state, torch.float16)
    cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.2)}
    contents = bundling.Contents("tiny", cfg, None, packed)
    requests = bundling.requests_for(config, torch.float16, ("sm_90",), (2,), ((33, 34),))
    with Pool(jobs, bundling.SETTINGS) as pool:
        bundling.build(path, contents, requests, pool, None)


@pytest.fixture(scope="session")
def request_for():
    def make(target: str = "sm_90", batch: int = 2, **changes) -> Request:
        given = {"height": 33, "width": 40, "dtype": torch.float16, **changes}
        return Request(SMALL, batch, target=target, **given)

    return make


@pytest.fixture(scope="session")
def rows(request_for, pool, cache) -> dict[str, Inspected]:
    """Every instance on sm_90, by the first step that launches it."""
    return {row.step: row for row in inspect([request_for()], pool, cache=cache)}


@pytest.fixture(scope="session")
def stem_rows(pool, cache) -> dict[tuple[str, str], Inspected]:
    """By target and kernel: the stem's convolution on two NVIDIA targets and an AMD one."""
    requests = [stem_request(target) for target in ("sm_80", "sm_100", "gfx942")]
    found = inspect(requests, pool, cache=cache, kernel="conv")
    return {(row.instance.target, row.instance.kernel): row for row in found}


@pytest.fixture(scope="session")
def headline(pool, tmp_path_factory) -> Callable[[str], SimpleNamespace]:
    """headline(target): `rows`, all instances of the model, from a cold cache in `seconds`."""

    @cache_of
    def compiled(target: str) -> SimpleNamespace:
        start = time.perf_counter()
        folder = tmp_path_factory.mktemp("cold")
        rows = inspect(requests(targets=[target]), pool, cache=Cache(folder))
        return SimpleNamespace(rows=rows, seconds=time.perf_counter() - start)

    return compiled


@pytest.fixture(scope="session")
def baseline() -> Mapping[str, Summary]:
    """What was accepted last, by target."""
    found = read(default_path())
    if found.triton != version("triton"):
        pytest.skip(f"the baseline is of Triton {found.triton}")
    return found.targets


@pytest.fixture(scope="session")
def check_accepted(baseline):
    """check_accepted(summaries by target): they are as in the baseline, or `r2n gate` says why."""

    def check(found: Mapping[str, Summary]) -> None:
        changed = [d for target in found for d in compare(target, baseline[target], found[target])]
        advice = "`r2n gate` shows this; `r2n gate --update` accepts it"
        assert not changed, f"\n{table(found, changed)}\n\n{advice}"

    return check
