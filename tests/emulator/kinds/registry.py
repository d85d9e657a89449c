"""The registry lists what the emulator is tried on: kinds of kernels, and constructs of Triton.

A case is a function without arguments: host code as a user writes it, on CPU tensors. It returns
(what the kernel made, what its torch twin makes, tolerance), once or several times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ARCHS = (80, 90, 100, 120)
KIND, CONSTRUCT = "kind", "construct"
RIGHT = "right"
Answer = tuple[Any, Any, float]


@dataclass(frozen=True)
class Case:
    """A Case is a row of the table. archs: those for which the kernel is written."""

    name: str
    group: str  # KIND or CONSTRUCT
    function: Callable[[], Answer | Iterable[Answer]]
    archs: tuple[int, ...]
    module: str


CASES: dict[str, Case] = {}


def _register(group: str, name: str, archs: Iterable[int]) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        if name in CASES:
            raise ValueError(f"two cases are called {name!r}")
        CASES[name] = Case(name, group, function, tuple(archs), function.__module__)
        return function

    return register


def kind(name: str, archs: Iterable[int] = ARCHS) -> Callable[[Callable], Callable]:
    """Register a well-known kind of kernel."""
    return _register(KIND, name, archs)


def construct(name: str, archs: Iterable[int] = ARCHS) -> Callable[[Callable], Callable]:
    """Register a construct of the language."""
    return _register(CONSTRUCT, name, archs)


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype)


def fresh(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return memory for a result: NaN, or the lowest number of an integer type."""
    if dtype == torch.bool:
        return torch.zeros(shape, dtype=dtype)
    poison = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).min
    return torch.full(shape, poison, dtype=dtype)


def error(got: Any, wanted: Any) -> float:
    """Return the largest difference, in units of the wanted values' size (1 at least)."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    if got.shape != wanted.shape:
        raise AssertionError(f"shapes {tuple(got.shape)} and {tuple(wanted.shape)}")
    same = (got == wanted) | (got.isnan() & wanted.isnan())
    if same.all():
        return 0.0
    difference = ((got - wanted).abs() / wanted.abs().clamp(min=1))[~same]
    return float("inf") if difference.isnan().any() else difference.max().item()


def judge(answers: Answer | Iterable[Answer]) -> str:
    """Return RIGHT, or "wrong: ..."."""
    every = [answers] if isinstance(answers, tuple) else list(answers)
    if not every:
        raise AssertionError("the case compares nothing")
    for got, wanted, tolerance in every:
        off = error(got, wanted)
        if not off <= tolerance:
            return f"wrong: {off:.2g} off, {tolerance:.2g} allowed"
    return RIGHT
