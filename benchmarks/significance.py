"""Runs of two codes are compared: is the newer one slower by more than chance explains?

A run is one process, and is worth one figure: the logarithm of its median time. Rounds of a run are
not independent, however many they are; processes differ by where memory lies, and by the machine's
mood. So the unit is the run, and Student's t test asks whether means over runs differ. How far runs
of one code are apart is the noise: it is pooled from both sides, and from earlier codes where their
runs are at hand. With fewer than MIN_DF degrees of freedom, as five runs a side have, the noise is
too little known to say anything.

A regression needs both: a one-sided p below ALPHA, and an interval of the ratio that lies above the
floor. "same" needs an interval inside of DETECT. All else is "unclear": so many runs would tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..extras import load

ALPHA = 0.001  # of the test, one-sided: a comparison of ten things errs in one of a hundred
FLOOR = 0.01  # smallest slow-down that is called one
DETECT = 0.05  # the slow-down that is found, and that "same" excludes
CONFIDENCE = 0.95  # of the interval of the ratio
POWER = 0.95  # with which `runs_needed` finds DETECT
SURE = 0.8  # with which the noise is no greater than `runs_needed` assumes
MIN_DF = 8  # degrees of freedom of the noise
MIN_RUNS = 5  # a side, where nothing else is known of the noise
LEAST_RUNS = 2  # in any case: now and then a process is slow as a whole
MOST_RUNS = 1000  # more are not worth a recommendation
LEAST_NOISE = 1e-6  # clocks are no finer: times that are all the same do not make certain


@dataclass(frozen=True)
class Estimate:
    """An Estimate is of the ratio of two times. log: of the ratio, above 0 where NEW is slower."""

    log: float
    low: float  # ends of the interval of log
    high: float
    p: float  # of the side that the ratio is on
    noise: float  # standard deviation of log times, from run to run of one code
    df: int  # degrees of freedom, of which the noise is known


def noise_of(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation inside of groups, and its degrees of freedom."""
    squares, df = 0.0, 0
    for group in groups:
        squares += float(np.var(group)) * len(group) if len(group) else 0.0
        df += max(0, len(group) - 1)
    return max(float(np.sqrt(squares / df)), LEAST_NOISE) if df else 0.0, df


def estimate(
    base: Sequence[float], new: Sequence[float], others: Iterable[Sequence[float]] = ()
) -> Estimate | None:
    """Compare log times of runs; None where the noise is unknown.

    others: those of other codes, a group each, which tell of the noise alone.
    """
    noise, df = noise_of([base, new, *others])
    if df < MIN_DF or min(len(base), len(new)) < LEAST_RUNS:
        return None
    t = _stats().t
    log = float(np.mean(new) - np.mean(base))
    error = noise * np.sqrt(1 / len(base) + 1 / len(new))
    half = float(t.ppf((1 + CONFIDENCE) / 2, df) * error)
    return Estimate(log, log - half, log + half, float(t.sf(abs(log) / error, df)), noise, df)


def verdict_of(found: Estimate, floor: float = FLOOR, doubt: float = 0.0) -> str:
    """Judge an estimate. doubt: how far log may be wrong by what no repetition averages out."""
    low, high = found.low - doubt, found.high + doubt
    if found.p < ALPHA and low > np.log1p(floor):
        return "regression"
    if found.p < ALPHA and high < -np.log1p(floor):
        return "improvement"
    limit = np.log1p(max(DETECT, floor))
    return "same" if -limit < low and high < limit else "unclear"


def runs_needed(noise: float, df: int, floor: float = FLOOR, doubt: float = 0.0) -> int | None:
    """Return how many runs a side find DETECT; None where MOST_RUNS are too few.

    The noise is only estimated, so the number is for a greater one, that it seldom exceeds.
    """
    if not df:
        return MIN_RUNS
    stats, runs = _stats(), np.arange(MIN_RUNS, MOST_RUNS + 1)
    worst = noise * np.sqrt(df / stats.chi2.ppf(1 - SURE, df))
    error, free = worst * np.sqrt(2 / runs), 2 * runs - 2
    certain, above, power = (stats.t.ppf(p, free) for p in (1 - ALPHA, (1 + CONFIDENCE) / 2, POWER))
    effect = np.log1p(DETECT)
    found = (certain + power) * error < effect
    found &= (above + power) * error < effect - np.log1p(floor) - doubt
    return int(runs[found][0]) if found.any() else None


def require_scipy() -> None:
    """Raise ConfigError where scipy is not installed."""
    _stats()


def _stats() -> Any:
    return load("scipy.stats", "compare", "comparing")
