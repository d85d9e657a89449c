from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from r2n_kernels.benchmarks.changepoints import MIN_VALUES, best_cut, changes


def energy(x, y):
    """By its definition, of all pairs."""
    between = 2 * np.mean(np.abs(np.subtract.outer(x, y)))
    within = sum(np.mean([abs(a - b) for a, b in permutations(z, 2)]) for z in (x, y))
    return (between - within) * len(x) * len(y) / (len(x) + len(y))


def test_the_best_cut_by_definition():
    values = np.random.default_rng(0).normal(0, 1, 14)
    cut, best = best_cut(np.abs(values[:, None] - values[None, :]))
    every = {
        (n, end): energy(values[:n], values[n:end])
        for n in range(3, 12)
        for end in range(n + 3, 15)
    }
    assert cut == max(every, key=every.get)[0]
    assert best == pytest.approx(max(every.values()))


def ramp(rng, noise, before=20):
    """1 % a commit for ten commits."""
    steps = np.concatenate([np.zeros(before), 0.01 * np.arange(1, 11)])
    return steps + rng.normal(0, noise, len(steps))


def test_one_percent_a_commit_is_found():
    """Which no two neighbours show, in noise of as much."""
    rng = np.random.default_rng(0)
    found = [changes(ramp(rng, 0.01)) for _ in range(5)]
    assert all(found)
    assert all(change.after > change.before for cuts in found for change in cuts)
    assert all(16 <= cuts[0].index <= 29 for cuts in found)


def test_steps_up_and_down():
    rng = np.random.default_rng(1)
    values = np.repeat([0.0, 0.05, 0.0], 20) + rng.normal(0, 0.005, 60)
    first, second = changes(values)
    assert (first.index, second.index) == (20, 40)
    assert (first.before, first.after) == pytest.approx((0, 0.05), abs=0.005)
    assert changes(values, least=0.1) == []
    assert changes(values) == changes(values)


def test_one_odd_value_is_no_change():
    values = np.random.default_rng(2).normal(0, 0.005, 30)
    values[12] += 0.2
    assert changes(values) == []


@pytest.mark.parametrize("values", [[], [1.0] * 50, list(range(MIN_VALUES - 1))])
def test_nothing_to_find(values):
    assert changes(values) == []


@pytest.mark.slow
def test_a_flat_history_seldom_alarms():
    """A hundred commits, of normal noise and of skewed."""
    rng = np.random.default_rng(3)
    flat = [rng.normal(0, 0.03, 100) for _ in range(300)]
    skewed = [rng.exponential(0.03, 100) for _ in range(300)]
    assert sum(bool(changes(values)) for values in (*flat, *skewed)) <= 6


@pytest.mark.slow
def test_one_percent_a_commit_is_found_in_a_long_history():
    """In noise of 2 %; ten commits of it among thirty others, on both sides."""
    rng = np.random.default_rng(4)
    values = [np.concatenate([ramp(rng, 0.02), 0.1 + rng.normal(0, 0.02, 20)]) for _ in range(20)]
    assert all(map(changes, values))
