"""A small network with every op of a plain variant, its instances, and a few of them compiled."""

from __future__ import annotations

import pytest
import torch

from r2n_kernels.aot.cache import Cache
from r2n_kernels.aot.inspection import Row, inspect
from r2n_kernels.aot.instances import Request
from r2n_kernels.aot.pool import Pool
from r2n_kernels.config import Res2NetConfig

SMALL = Res2NetConfig((2,), planes=(64,), num_classes=10)


def request_for(target: str, batch: int = 2, **changes) -> Request:
    given = {"height": 64, "width": 64, "dtype": torch.float16, **changes}
    return Request(SMALL, batch, target=target, **given)


@pytest.fixture(scope="session")
def pool():
    with Pool(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def rows(pool, cache) -> dict[tuple[str, str], Row]:
    """By target and kernel: the stem's convolution on two NVIDIA targets and an AMD one."""
    requests = [request_for(target) for target in ("sm_80", "sm_100", "gfx942")]
    found = inspect(requests, pool, cache=cache, kernel="conv")
    return {(row.instance.target, row.instance.kernel): row for row in found}
