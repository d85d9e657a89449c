"""Workers that compile and run, and the instances of a small network."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.aot.cache import Cache
from r2n_kernels.aot.inspection import Row, inspect
from r2n_kernels.aot.instances import Request
from r2n_kernels.aot.pool import Pool
from r2n_kernels.config import Res2NetConfig

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
