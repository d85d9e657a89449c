"""Change points of a series are found by E-divisive, the method that Apache Otava uses.

Matteson and James, 2014: a series is cut where the energy distance of its two parts is largest, if
few shuffles of it have a cut as good; then each part is looked at the same way. Nothing is assumed
of how the values are distributed, only that without a change their order means nothing. It sees
what two neighbours do not show: many small steps in one direction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHUFFLES = 999
ALPHA = 0.005  # share of shuffles with a cut as good, at most: alarms in a series without changes
LEAST = 3  # values of a part: a single odd one is no change
MIN_VALUES = 11  # fewer have too few orders to tell: C(11, 5) = 462
SEED = 0  # of shuffles: the same series give the same answer

Distances = NDArray[np.float64]  # [n, n]


@dataclass(frozen=True)
class Change:
    """A Change is a cut: values from `index` on are of another level. p: share of shuffles."""

    index: int
    before: float  # mean of the part before, and after, up to their other cuts
    after: float
    p: float


def changes(values: Sequence[float], least: float = 0.0) -> list[Change]:
    """Return the change points, in order. least: smaller differences of means are none."""
    series = np.asarray(values, dtype=float)
    found = dict(_cuts(series, 0, np.random.default_rng(SEED)))
    while True:
        told = _told(series, found)
        smallest = min(told, key=lambda change: abs(change.after - change.before), default=None)
        if smallest is None or abs(smallest.after - smallest.before) >= least:
            return told
        del found[smallest.index]


def _told(series: NDArray[np.float64], found: Mapping[int, float]) -> list[Change]:
    """Return the cuts with the means around them."""
    ends = [0, *sorted(found), len(series)]
    means = [float(np.mean(series[a:b])) for a, b in itertools.pairwise(ends) if a < b]
    return [Change(cut, means[i], means[i + 1], found[cut]) for i, cut in enumerate(sorted(found))]


def _cuts(
    series: NDArray[np.float64], start: int, rng: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """Yield cuts of a part that begins at `start`, each with its p."""
    if len(series) < MIN_VALUES:
        return
    distances = np.abs(series[:, None] - series[None, :])
    cut, energy = best_cut(distances)
    p = _share_as_good(distances, energy, rng)
    if p <= ALPHA:
        yield start + cut, p
        yield from _cuts(series[:cut], start, rng)
        yield from _cuts(series[cut:], start + cut, rng)


def best_cut(distances: Distances) -> tuple[int, float]:
    """Return where the parts' energy distance, times nm / (n + m), is largest, and how large.

    The second part may end before the series does: what comes later may be as the first part.
    """
    sums = np.cumsum(np.cumsum(distances, axis=0), axis=1)  # over the first i rows and j columns
    corner, total = np.diagonal(sums), len(distances)
    cuts = np.arange(LEAST, total - LEAST + 1)[:, None]  # [cuts, 1]
    ends = np.arange(2 * LEAST, total + 1)[None, :]  # [1, ends]
    n, m = cuts, np.maximum(ends - cuts, 2)
    first, both = corner[cuts - 1], sums[cuts - 1, ends - 1]
    across, second = both - first, corner[ends - 1] - 2 * both + first
    energy = 2 * across / (n * m) - first / (n * (n - 1)) - second / (m * (m - 1))
    scaled = np.where(ends - cuts >= LEAST, energy * n * m / (n + m), -np.inf)
    best = int(np.argmax(scaled.max(axis=1)))
    return int(cuts[best, 0]), float(scaled[best].max())


def _share_as_good(distances: Distances, energy: float, rng: np.random.Generator) -> float:
    """Return the share of shuffles with as good a cut; stop where it is surely above ALPHA."""
    as_good = 0
    for _ in range(SHUFFLES):
        order = rng.permutation(len(distances))
        as_good += best_cut(distances[np.ix_(order, order)])[1] >= energy * (1 - 1e-9)
        if (1 + as_good) / (1 + SHUFFLES) > ALPHA:
            return 1.0
    return (1 + as_good) / (1 + SHUFFLES)
