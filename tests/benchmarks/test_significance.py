from __future__ import annotations

import sys

import numpy as np
import pytest

from r2n_kernels.benchmarks.significance import (
    MIN_RUNS,
    estimate,
    noise_of,
    require_scipy,
    runs_needed,
    verdict_of,
)
from r2n_kernels.errors import ConfigError


def test_the_noise_is_pooled():
    noise, df = noise_of([[0.0, 2.0], [10.0, 12.0, 11.0], [5.0], []])
    assert df == 3
    assert noise == pytest.approx(np.sqrt((2 + 2) / 3))
    assert noise_of([[1.0], [2.0]]) == (0.0, 0)


def test_students_interval():
    """By the tables: t is 2.306 at 97.5 % of 8 degrees of freedom."""
    base, new = [0.0, 0.1, 0.2, 0.3, 0.4], [1.0, 1.1, 1.2, 1.3, 1.4]
    found = estimate(base, new)
    assert (found.df, found.log) == (8, pytest.approx(1.0))
    assert found.noise == pytest.approx(np.std(base, ddof=1))
    half = 2.306 * found.noise * np.sqrt(2 / 5)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), rel=1e-3)
    assert estimate(new, base).p == pytest.approx(found.p)


@pytest.mark.parametrize(
    ("base", "new", "others", "known"),
    [
        (4, 5, [], False),
        (5, 5, [], True),
        (2, 2, [7], True),
        (2, 2, [6], False),
        (1, 30, [], False),  # now and then a process is slow as a whole
        (1, 1, [30], False),
        (2, 8, [], True),
    ],
)
def test_too_few_runs_tell_nothing(base, new, others, known):
    groups = [list(np.linspace(0, 0.01, count)) for count in (base, new, *others)]
    assert (estimate(*groups[:2], groups[2:]) is not None) == known


@pytest.mark.parametrize(
    ("slower", "floor", "doubt", "verdict"),
    [
        (0.0, 0.01, 0.0, "same"),
        (0.005, 0.01, 0.0, "same"),  # however significant
        (0.03, 0.01, 0.0, "regression"),
        (-0.03, 0.01, 0.0, "improvement"),
        (0.03, 0.01, 0.03, "unclear"),
        (0.0, 0.01, 0.06, "unclear"),
        (0.03, 0.04, 0.0, "same"),
        (0.1, 0.2, 0.0, "same"),
        (0.1, 0.01, 0.08, "regression"),
    ],
)
def test_verdicts(slower, floor, doubt, verdict):
    base = np.linspace(-0.002, 0.002, 9)
    assert verdict_of(estimate(base, base + np.log1p(slower)), floor, doubt) == verdict


def test_a_large_ratio_by_chance_is_unclear():
    """The case of the issue: 2.7 times as long with p 0.04 is not the same."""
    base = np.log([0.05, 0.1, 0.3, 0.6, 0.1])
    found = estimate(base, base[::-1] + np.log(2.7))
    assert 0.02 < found.p < 0.1
    assert verdict_of(found) == "unclear"


def test_runs_needed():
    assert runs_needed(0.0, 0) == MIN_RUNS
    assert runs_needed(0.001, 100) == MIN_RUNS
    assert 18 <= runs_needed(0.03, 1000) <= 21
    assert runs_needed(0.03, 8) > runs_needed(0.03, 1000)  # it may be more
    assert runs_needed(0.06, 1000) > 3.5 * runs_needed(0.03, 1000)
    assert runs_needed(0.01, 100, doubt=0.02) > runs_needed(0.01, 100)
    assert runs_needed(0.01, 100, doubt=0.04) is None
    assert runs_needed(1.0, 100) is None


def test_scipy_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ConfigError, match=r"pip install 'r2n_kernels\[compare\]'"):
        require_scipy()
