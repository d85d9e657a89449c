"""What a self-test launches, for those who compile it beforehand."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..kernels.targets import Target
from ..proof.selftest.networks import PARITY_BATCH
from ..proof.selftest.setup import Setup
from .instances import FORMS, Request


def launched(setup: Setup, target: str, chip: Target) -> list[Request]:
    """Return the forward passes of all checks. target: of kernels.targets; chip: the very GPU."""
    return [request for dtype in setup.dtypes for request in _of(setup, dtype, target, chip)]


def _of(setup: Setup, dtype: torch.dtype, target: str, chip: Target) -> Iterator[Request]:
    shape = (setup.size, setup.size, dtype, target)
    for case in setup.cases:
        yield Request(case.config, case.batch, *shape, case.schedule, chip, either=True)
    yield Request(setup.config, min(PARITY_BATCH, setup.batch), *shape, "auto", chip)
    for schedule in ("auto", "throughput", "latency"):
        yield Request(setup.config, setup.batch, *shape, schedule, chip, forms=FORMS[:2])
