"""Workers that compile and run, and the instances of a small network."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from r2n_kernels.aot.cache import Cache
from r2n_kernels.aot.inspection import Row, inspect
from r2n_kernels.aot.instances import Request
from r2n_kernels.aot.pool import Pool
from r2n_kernels.config import Res2NetConfig
from r2n_kernels.execute import baseline as baselines

BASELINE = Path(__file__).with_name("baseline.json")
SMALL = Res2NetConfig((2, 1), planes=(20, 24), scale=3, base_width=38, num_classes=10)


@pytest.fixture(scope="session")
def pool():
    with Pool(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def request_for():
    def make(target: str = "sm_90", batch: int = 2, **changes) -> Request:
        given = {"height": 33, "width": 40, "dtype": torch.float16, **changes}
        return Request(SMALL, batch, target=target, **given)

    return make


@pytest.fixture(scope="session")
def rows(request_for, pool, cache) -> dict[str, Row]:
    """Every instance on sm_90, by the first step that launches it."""
    return {row.step: row for row in inspect([request_for()], pool, cache=cache)}


@pytest.fixture(scope="session")
def headline(pool, tmp_path_factory) -> SimpleNamespace:
    """`rows`: every instance of the headline model, compiled with a cold cache in `seconds`."""
    start = time.perf_counter()
    rows = baselines.headline(pool, Cache(tmp_path_factory.mktemp("cold")))
    return SimpleNamespace(rows=rows, seconds=time.perf_counter() - start)


@pytest.fixture(scope="session")
def baseline() -> dict:
    """What was accepted last."""
    found = json.loads(BASELINE.read_text())
    if found["triton"] != version("triton"):
        pytest.skip(f"the baseline is of Triton {found['triton']}")
    return found


@pytest.fixture(scope="session")
def differences():
    """differences(old, new) of instances: (name, fact) -> (old value, new value)."""

    def compare(old: dict, new: dict) -> dict:
        changed = {name: (name in old, name in new) for name in set(old) ^ set(new)}
        for name in set(old) & set(new):
            for fact, value in new[name].items():
                if old[name][fact] != value:
                    changed[name, fact] = (old[name][fact], value)
        return changed

    return compare
