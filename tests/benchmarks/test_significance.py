from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from r2n_kernels.benchmarks.significance import ENOUGH_ROUNDS, judge, noise
from r2n_kernels.errors import ConfigError

ROUNDS, NOISE = ENOUGH_ROUNDS, 0.02


def rounds(seconds):
    """One sample a round."""
    return tuple((float(second),) for second in seconds)


def noisy(record, rng, seconds=0.1):
    """ROUNDS samples around a time, skewed as timings are, and as many of the same again."""

    def draw():
        usual = rng.normal(1, NOISE, ROUNDS)
        late = rng.random(ROUNDS) < 0.05  # now and then something else runs
        return rounds(seconds * (usual + late * rng.exponential(0.2, ROUNDS)))

    return dataclasses.replace(record, samples=draw(), again=draw())


def test_the_same_code_seldom_alarms(record):
    rng = np.random.default_rng(0)
    pairs = [(noisy(record, rng), noisy(record, rng)) for _ in range(200)]
    alarms = sum(judge(*pair).verdict != "same" for pair in pairs)
    assert alarms <= 2


def test_five_percent_is_found(record):
    rng = np.random.default_rng(1)
    pairs = [(noisy(record, rng), noisy(record, rng, 0.105)) for _ in range(200)]
    found = [judge(*pair) for pair in pairs]
    assert sum(c.verdict == "regression" for c in found) >= 190
    back = [judge(new, base).verdict for base, new in pairs]
    assert back.count("improvement") >= 190


def test_below_the_floor_is_no_regression(record):
    """However significant."""
    rng = np.random.default_rng(2)
    base = dataclasses.replace(record, samples=rounds(0.1 + 1e-5 * rng.random(50)), again=())
    new = dataclasses.replace(base, samples=rounds(0.1005 + 1e-5 * rng.random(50)))
    found = judge(base, new)
    assert found.p < 1e-10
    assert found.verdict == "same"
    assert judge(base, new, floor=0.002).verdict == "regression"
    apart = dataclasses.replace(base, again=rounds(s * 1.03 for s in base.seconds))
    assert noise(apart) == pytest.approx(0.03)
    assert judge(apart, new, floor=0.002).verdict == "same"


def test_a_verdict_repeats(record):
    rng = np.random.default_rng(3)
    base, new = noisy(record, rng), noisy(record, rng)
    assert judge(base, new) == judge(base, new)


def test_samples_of_a_round_count_once(record):
    """They are not independent: ten times as many are no more certain."""
    one = dataclasses.replace(record, samples=tuple((0.1 + i / 1e4,) for i in range(9)), again=())
    many = dataclasses.replace(one, samples=tuple(a_round * 10 for a_round in one.samples))
    slow = dataclasses.replace(one, samples=tuple((0.1002 + i / 1e4,) for i in range(9)))
    slower = dataclasses.replace(slow, samples=tuple(a_round * 10 for a_round in slow.samples))
    assert judge(one, slow).p == judge(many, slower).p


def test_scipy_is_an_extra(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ConfigError, match=r"pip install 'r2n_kernels\[compare\]'"):
        judge(record, record)
