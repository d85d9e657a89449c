"""Every function of libdevice on both types of floats: compiled, run, against PyTorch."""

from __future__ import annotations

import pytest
import torch

from .libdevice import DTYPES, Function, functions, operands, oracle

N = 128
EVERY = functions()
SAMPLE = {  # what these need: fma of float64, tables, divergence, calls, carries, rounding modes
    ("exp", "fp64"), ("sinpi", "fp64"), ("tanh", "fp32"), ("pow", "fp64"), ("sin", "fp32"),
    ("div_rz", "fp32"), ("fma_rd", "fp64"), ("ffs", "int64"), ("sad", "int32"),
    ("ull2float_ru", "uint64"), ("rsqrt", "fp32"), ("j0", "fp32"),
}  # fmt: skip


def name_of(function: Function) -> str:
    return "-".join((function[0], *function[1]))


def check(ask, function: Function, arch: int) -> None:
    name, types, result = function
    x, y = operands(function, N), torch.zeros(N, dtype=DTYPES[result])
    kernel = ask("libdevice", name=name, types=types, result=result, arch=arch)
    kernel.run((1,), [*x, y])
    wanted = oracle(name)
    if wanted is None:
        return  # that it runs is all that is shown
    exact = [v.double() if v.is_floating_point() else v for v in x]
    tolerance = 1e-5 if "fp32" in (*types, result) else 1e-11
    if name in ("j0", "j1", "y0", "y1"):  # PyTorch's own are no better
        tolerance = 1e-4
    torch.testing.assert_close(y.double(), wanted(*exact).double(), rtol=tolerance,
                               atol=min(tolerance, 1e-6))  # fmt: skip


def of(keep) -> list:
    return [pytest.param(f, id=name_of(f)) for f in EVERY if keep(f)]


def sampled(function: Function) -> bool:
    return (function[0], function[1][0]) in SAMPLE and function[1] != ("fp64", "int32")


def variant(function: Function) -> bool:
    return function[0].endswith(("_rn", "_rd", "_ru"))


def test_the_functions_are_found():
    assert len(EVERY) > 300
    assert ("pow", ("fp64", "fp64"), "fp64") in EVERY
    assert sum(map(sampled, EVERY)) == len(SAMPLE)


@pytest.mark.parametrize("function", of(sampled))
def test_some(ask, function):
    check(ask, function, 80)


@pytest.mark.slow
@pytest.mark.parametrize("function", of(lambda f: not sampled(f) and not variant(f)))
def test_the_others(ask, function):
    check(ask, function, 90)


@pytest.mark.weekly
@pytest.mark.parametrize("function", of(variant))
def test_rounding_modes(ask, function):
    check(ask, function, 90)
