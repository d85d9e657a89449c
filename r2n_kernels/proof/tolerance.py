"""Errors are measured here, and one rule decides whether they are small enough.

    error = max |actual - expected| / max |expected|, in float64

A network in some dtype passes when its error is at most twice that of eager PyTorch in the same
dtype, both taken against eager PyTorch in a wider one: float32 for half precision, float64 for
float32. Eager's own error depends on the memory layout (oneDNN sums in another order: up to 3x
apart in float32), so it is the larger of its errors over the layouts that were run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FACTOR = 2.0
# Eager may be right by chance, to the last bit; a few roundings are never a fault.
FLOOR_ROUNDINGS = 4
# A whole network in float32: a hundred layers of roundings, of the folded weights too. Between
# eager's own layouts the errors differ up to threefold there, and 1e-5 is still 100 times below
# what TF32 or a wrong epsilon costs.
NETWORK_FLOAT32 = 1e-5


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected magnitude; NaN for any NaN."""
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: {tuple(actual.shape)} and {tuple(expected.shape)}")
    actual, expected = actual.detach().double(), expected.detach().double()
    if actual.numel() == 0:
        return 0.0
    difference = (actual - expected).abs().max()
    return float(difference / expected.abs().max().clamp_min(torch.finfo(torch.float64).tiny))


def oracle_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the wider dtype whose eager result counts as the truth."""
    return torch.float64 if dtype == torch.float32 else torch.float32


@dataclass(frozen=True)
class Verdict:
    """The errors of one output against the oracle decide whether it passes."""

    name: str
    error: float  # ours
    eager: float  # eager PyTorch in our dtype
    floor: float  # what passes however good eager was
    dtype: torch.dtype

    @property
    def limit(self) -> float:
        return max(FACTOR * self.eager, self.floor)

    @property
    def passed(self) -> bool:
        return self.error <= self.limit  # false for NaN

    @property
    def severity(self) -> float:
        """Return error over limit: above 1 it failed; NaN counts as infinite."""
        ratio = self.error / self.limit
        return ratio if ratio == ratio else float("inf")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the most severe of some verdicts, of which there is at least one."""
    return max(verdicts, key=lambda verdict: verdict.severity)


def floor_of(dtype: torch.dtype, *, network: bool) -> float:
    """Return the error that passes however good eager was, of an operation or a network."""
    if network and dtype == torch.float32:
        return NETWORK_FLOAT32
    return FLOOR_ROUNDINGS * torch.finfo(dtype).eps


def judge(
    name: str, actual: Tensor, eager: Sequence[Tensor], oracle: Tensor, *, network: bool = False
) -> Verdict:
    """Compare `actual` with eager PyTorch's outputs in its dtype, one per memory layout.

    network: whether they are outputs of a whole network, not of one operation.
    """
    errors = [relative_error(output, oracle) for output in eager]
    floor = floor_of(actual.dtype, network=network)
    return Verdict(name, relative_error(actual, oracle), max(errors), floor, actual.dtype)
