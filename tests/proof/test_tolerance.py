from __future__ import annotations

import math

import pytest
import torch

from r2n_kernels.proof.tolerance import judge, oracle_dtype, relative_error


def test_relative_error_is_largest_difference_over_largest_magnitude():
    expected = torch.tensor([1.0, -4.0, 0.0])
    assert relative_error(expected, expected) == 0
    assert relative_error(torch.tensor([1.0, -4.0, 1.0]), expected) == 0.25
    assert relative_error(torch.empty(0, 3), torch.empty(0, 3)) == 0
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert math.isnan(relative_error(torch.tensor([math.nan, 1.0]), torch.ones(2)))
    with pytest.raises(ValueError, match=r"shapes differ: \(2,\) and \(3,\)"):
        relative_error(torch.zeros(2), torch.zeros(3))


def test_oracle_is_wider():
    assert oracle_dtype(torch.float32) == torch.float64
    assert oracle_dtype(torch.bfloat16) == oracle_dtype(torch.float16) == torch.float32


@pytest.mark.parametrize(
    ("ours", "passed"), [(1.01, True), (1.0199, True), (1.0202, False), (math.nan, False)]
)
def test_twice_eagers_error_passes_and_more_fails(ours, passed):
    one = torch.ones(1)
    eager = [torch.tensor([1.01]), torch.tensor([0.995])]  # errors 0.01 and 0.005
    verdict = judge("logits", torch.tensor([ours]), eager, one.double())
    assert verdict.passed is passed
    assert verdict.limit == pytest.approx(0.02, rel=1e-4)


def test_exact_eager_leaves_room_for_rounding_only():
    one = torch.ones(1)
    eps = torch.finfo(torch.float32).eps
    assert judge("x", one + 4 * eps, [one], one).passed
    assert not judge("x", one + 5 * eps, [one], one).passed


def test_a_network_in_float32_may_be_1e_5_off():
    one = torch.ones(1)
    assert judge("x", one + 9e-6, [one], one, network=True).passed
    assert not judge("x", one + 1.1e-5, [one], one, network=True).passed
    half = one.half()
    assert not judge("x", half + 5 * torch.finfo(half.dtype).eps, [half], one, network=True).passed
