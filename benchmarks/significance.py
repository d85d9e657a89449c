"""A test, which seldom errs, tells whether samples of two codes differ by more than noise.

A regression needs both: samples that differ by Mann-Whitney's U test at ALPHA, one-sided, and a
ratio of medians whose bootstrap interval lies above the noise floor. Both are of the medians of
rounds: the samples of one round are not independent. The floor is what the same code shows against
itself: the A/A samples of a record, and the spread of several records of one commit; it is never
less than FLOOR. Processes differ by more than rounds do (where memory lies, how fast the machine is
that minute). With a single record per side these differences are missing from the noise, which is
then too low: `r2n bench --against` and several recorded runs see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ..errors import ConfigError
from .records import Record

ALPHA = 0.001  # of the test: false alarms that chance may cause
FLOOR = 0.01  # smallest slow-down that is called one
CONFIDENCE = 0.95  # of the interval of the ratio
RESAMPLES = 2000
SEED = 0  # of the bootstrap: the same records give the same verdict
MIN_ROUNDS = 7  # with fewer of either side, no p-value can be below ALPHA: 1 / C(14, 7) = 0.0003
ENOUGH_ROUNDS = 20  # find 5 % in noise of 2 % in 19 of 20 cases; 11 do in 14, 7 in 8 (simulated)
VERDICTS = ("regression", "improvement", "same")


@dataclass(frozen=True)
class Comparison:
    """A Comparison is of two records. ratio: of medians, NEW over BASE; above 1 is slower."""

    base: Record
    new: Record
    ratio: float
    interval: tuple[float, float]  # of the ratio, by its bootstrap
    p: float  # of the side that the ratio is on
    floor: float
    verdict: str  # of VERDICTS
    runs: tuple[int, int] = (1, 1)  # records of either side


def judge_runs(
    base: Sequence[Record], new: Sequence[Record], floor: float = FLOOR
) -> Comparison | None:
    """Judge runs of one thing on one machine, of one code each; None if rounds are too few."""
    old, fresh = merge(base), merge(new)
    if min(len(old.samples), len(fresh.samples)) < MIN_ROUNDS:
        return None
    judged = judge(old, fresh, max(floor, spread(base), spread(new)))
    return replace(judged, runs=(len(base), len(new)))


def judge(base: Record, new: Record, floor: float = FLOOR) -> Comparison:
    """Judge two records of the same thing on the same machine."""
    floor = max(floor, *(noise(record) for record in (base, new)))
    old, fresh = np.asarray(base.medians), np.asarray(new.medians)
    ratio = new.median / base.median
    interval = _bootstrap(old, fresh)
    p = _p_value(fresh, old) if ratio > 1 else _p_value(old, fresh)
    verdict = "same"
    if p < ALPHA and interval[0] > 1 + floor:
        verdict = "regression"
    elif p < ALPHA and interval[1] < 1 / (1 + floor):
        verdict = "improvement"
    return Comparison(base, new, ratio, interval, p, floor, verdict)


def noise(record: Record) -> float:
    """Return the relative difference of a subject against itself; 0 where it was not taken."""
    if not record.again:
        return 0.0
    ratio = record.median / float(np.median(record.again_medians))
    return max(ratio, 1 / ratio) - 1


def spread(runs: Sequence[Record]) -> float:
    """Return how far medians of the same code are apart, from one run to another."""
    medians = [run.median for run in runs]
    return max(medians) / min(medians) - 1


def merge(runs: Sequence[Record]) -> Record:
    """Return the newest of some records of one thing, with the rounds of all."""
    return replace(
        runs[-1],
        samples=tuple(chain.from_iterable(run.samples for run in runs)),
        again=tuple(chain.from_iterable(run.again for run in runs)),
    )


def require_scipy() -> None:
    """Raise ConfigError where scipy is not installed."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise ConfigError("comparing needs scipy: pip install 'r2n_kernels[compare]'") from error


def _p_value(greater: np.ndarray, less: np.ndarray) -> float:
    require_scipy()
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(greater, less, alternative="greater").pvalue)


def _bootstrap(old: np.ndarray, fresh: np.ndarray) -> tuple[float, float]:
    """Return the central CONFIDENCE of the ratio of medians over resampled samples."""
    rng = np.random.default_rng(SEED)

    def medians(samples: np.ndarray) -> np.ndarray:
        drawn = rng.choice(samples, (RESAMPLES, len(samples)))
        return np.median(drawn, axis=1)

    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians(fresh) / medians(old), (tail, 1 - tail))
    return float(low), float(high)
