"""Fixtures for every test: reproducible random weights, and the one measure of error."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from r2n_kernels import reference
from r2n_kernels.kernels.targets import target_of
from r2n_kernels.tolerance import relative_error

if not torch.cuda.is_available() or target_of(torch.device("cuda", 0)) is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is imported


@pytest.fixture(scope="session")
def randomize() -> Callable[..., nn.Module]:
    return reference.randomize


@pytest.fixture(scope="session")
def rel_error() -> Callable[[Tensor, Tensor], float]:
    return relative_error
