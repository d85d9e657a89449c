"""Buffers that show every stray access: NaN guards around them, NaN where nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

GUARD = 4096  # elements on each side: more than any tile's row


class Buffers:
    """Hands out guarded tensors and checks their guards."""

    def __init__(self) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._whole: list[Tensor] = []

    def guarded(self, value: Tensor) -> Tensor:
        """A copy of value between two guards of NaN."""
        size = value.numel()
        nan = float("nan")
        whole = torch.full((size + 2 * GUARD,), nan, dtype=value.dtype, device=self.device)
        self._whole.append(whole)
        inner = whole[GUARD : GUARD + size].view(value.shape)
        inner.copy_(value)
        return inner

    def unwritten(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return self.guarded(torch.full(tuple(shape), float("nan"), dtype=dtype))

    def assert_guards(self) -> None:
        for whole in self._whole:
            assert whole[:GUARD].isnan().all(), "a store before a buffer"
            assert whole[-GUARD:].isnan().all(), "a store behind a buffer"


@pytest.fixture
def buffers() -> Buffers:
    return Buffers()


@pytest.fixture
def check(rel_error) -> Callable[[Tensor, Tensor, Tensor], None]:
    """check(actual, eager, exact): the tolerance rule, element sets of NaN included."""
    from r2n_kernels.tolerance import judge

    def verify(actual: Tensor, eager: Tensor, exact: Tensor) -> None:
        assert not actual.isnan().any(), "an element was never written, or a guard was read"
        verdict = judge("kernel", actual.cpu(), [eager.cpu()], exact.cpu())
        assert verdict.passed, verdict

    return verify
