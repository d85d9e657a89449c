from __future__ import annotations

import math

import pytest
import torch

from r2n_kernels.finite import count_not_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (3, 5, 3, 3)], ids=str)
def test_every_nan_and_infinity_counts(dtype, shape):
    tensor = torch.randn(shape).to(dtype)
    assert count_not_finite(tensor) == 0
    for value in (math.nan, math.inf, -math.inf):
        bad = tensor.clone()
        bad.view(-1)[-1] = value
        assert count_not_finite(bad) == 1
    assert count_not_finite(torch.full(shape, math.nan, dtype=dtype)) == tensor.numel()
    limit = torch.finfo(dtype).max
    assert count_not_finite(torch.full(shape, limit, dtype=dtype)) == 0


def test_empty_and_strided():
    assert count_not_finite(torch.empty(0, 3)) == 0
    tensor = torch.zeros(4, 6, 2, 2).contiguous(memory_format=torch.channels_last)
    tensor[3, 5, 1, 0] = -math.inf
    assert count_not_finite(tensor) == count_not_finite(tensor[:, 1::2]) == 1
    assert count_not_finite(tensor[:, ::2]) == 0
