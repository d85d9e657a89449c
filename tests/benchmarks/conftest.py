from __future__ import annotations

import pytest

from r2n_kernels.benchmarks.records import Record


@pytest.fixture
def record() -> Record:
    return Record(
        subject="r2n_kernels", model="res2net50_26w_4s", dtype="float32", layout="channels_last",
        backend="auto", batch=8, height=224, width=224, scope="model", step=None,
        count=1, macs=34_000_000_000, bytes=None, memory=None, peak=None,
        machine={"cpu": "a chip", "gpu": None, "driver": None, "threads": 2, "torch": "2.14.1",
                 "triton": "3.8.0"},
        commit="0" * 40, dirty=False, kernels="0123456789abcdef", time="2026-11-25T00:00:00+00:00",
        samples=((0.11,), (0.1,), (0.12,)), again=((0.1,), (0.11,), (0.12,)),
        parity={"passed": True, "error": 1e-6, "limit": 1e-5},
    )  # fmt: skip
