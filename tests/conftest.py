"""Fixtures for every test: reproducible random weights, and the one measure of error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from r2n_kernels import reference
from r2n_kernels.tolerance import relative_error


@pytest.fixture(scope="session")
def randomize() -> Callable[..., nn.Module]:
    return reference.randomize


@pytest.fixture(scope="session")
def rel_error() -> Callable[[Tensor, Tensor], float]:
    return relative_error
