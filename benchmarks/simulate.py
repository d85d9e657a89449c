"""Runs are made up, to see how often a verdict errs: false alarms, and slow-downs that are found.

A process differs from the next by an effect of its own; the machine's mood drifts from round to
round of a run (autocorrelated), and may wander from run to run, while BASE's runs all come first.

usage: python -m r2n_kernels.benchmarks.simulate [--trials N] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import R2NError
from ..text import text_table
from .judge import doubt_of
from .significance import DETECT, MIN_RUNS, estimate, noise_of, runs_needed, verdict_of
from .tables import markdown_table, put_between_marks

MARKS = ("<!-- r2n simulate: begin -->", "<!-- r2n simulate: end -->")
TRIALS = 2000
RUNS = (1, 2, 3, 5, 10, 20)  # a side
HISTORY = 5  # earlier codes, of three runs each
ROUNDS, ROUND_NOISE, DRIFT = 20, 0.02, 0.9  # of a run; DRIFT: correlation of a round and the next
WANDERS, STEADY = 0.1, 0.8  # the machine from run to run: how far, and its correlation
FEELS = 0.95  # of the machine's movement, a peer
PEAK_NOISE = 0.03  # of one measurement of the machine's peak
PILOT = MIN_RUNS

Logs = NDArray[np.float64]  # log times: [trials, runs]


@dataclass(frozen=True)
class Scene:
    """A Scene says how processes differ: normally by `effect`, and a `share` of them by `slow`.

    machine: whether it wanders; peer: whether one runs beside the subject; history: whether earlier
    codes were recorded.
    """

    name: str
    effect: float = 0.0
    share: float = 0.0
    slow: float = 0.0
    machine: bool = False
    peer: bool = False
    history: bool = False


PLAIN = tuple(
    Scene(f"processes differ by {effect:.0%}", effect) for effect in (0.0, 0.01, 0.03, 0.06)
)
SCENES = (
    *PLAIN,
    Scene("by 3%, with a history", 0.03, history=True),
    Scene("one process in ten is 5% slower", 0.002, share=0.1, slow=0.05),
    Scene("every other process is 5% slower", 0.002, share=0.5, slow=0.05),
    Scene("by 1%; the machine wanders by 10%, a peer sees it", 0.01, machine=True, peer=True),
    Scene("by 1%; the machine wanders by 10%, its peak shows it", 0.01, machine=True),
)


def false_alarms(scene: Scene, runs: int, trials: int, seed: int = 0) -> float | None:
    """Return how often the same code is called slower or faster; None: never enough runs."""
    verdicts = list(judged(scene, runs, trials, 0.0, np.random.default_rng(seed)))
    if set(verdicts) == {"too few"}:
        return None
    return sum(v in ("regression", "improvement") for v in verdicts) / trials


def found(scene: Scene, trials: int, seed: int = 0) -> tuple[int, float]:
    """Return the runs that a pilot typically recommends, and how often each finds DETECT with its.

    0 runs: most pilots see too much noise for any number.
    """
    rng = np.random.default_rng(seed)
    pilots = zip(*(draw(scene, PILOT, trials, rng)[0] for _ in range(2)), strict=True)
    needed = [runs_needed(*noise_of(pair)) or 0 for pair in pilots]
    right = 0
    for runs in filter(None, set(needed)):
        count = needed.count(runs)
        right += list(judged(scene, runs, count, np.log1p(DETECT), rng)).count("regression")
    return int(np.median(needed)), right / max(1, sum(runs > 0 for runs in needed))


def judged(
    scene: Scene, runs: int, trials: int, slower: float, rng: np.random.Generator
) -> Iterator[str]:
    """Yield the verdict of each trial."""
    both, moved = draw(scene, 2 * runs, trials, rng)
    both[:, runs:] += slower
    earlier = [draw(scene, 3, trials, rng)[0] for _ in range(HISTORY if scene.history else 0)]
    for i, logs in enumerate(both):
        estimated = estimate(logs[:runs], logs[runs:], [group[i] for group in earlier])
        change = [float(np.mean(m[i, runs:]) - np.mean(m[i, :runs])) for m in moved]
        yield verdict_of(estimated, doubt=doubt_of(change, scene.peer)) if estimated else "too few"


def draw(scene: Scene, runs: int, trials: int, rng: np.random.Generator) -> tuple[Logs, list[Logs]]:
    """Draw log times of runs, over the peer's where there is one, and what shows the machine."""
    subject = _processes(scene, runs, trials, rng)
    if not scene.machine:
        return subject, []
    mood = WANDERS * _wander(trials, runs, STEADY, rng)
    shows = [mood + rng.normal(0, PEAK_NOISE, mood.shape)]
    if not scene.peer:
        return subject + mood, shows
    peer = _processes(scene, runs, trials, rng) + FEELS * mood
    return subject + mood - peer, [*shows, peer]


def _processes(scene: Scene, runs: int, trials: int, rng: np.random.Generator) -> Logs:
    """Draw each run's median over its rounds, as a log."""
    shape = trials, runs
    effect = rng.normal(0, scene.effect, shape) + scene.slow * (rng.random(shape) < scene.share)
    rounds = ROUND_NOISE * _wander(trials * runs, ROUNDS, DRIFT, rng)
    return effect + np.median(rounds, axis=1).reshape(shape)


def _wander(series: int, length: int, correlation: float, rng: np.random.Generator) -> Logs:
    """Draw autocorrelated series of standard deviation 1: [series, length]."""
    fresh = rng.normal(0, 1, (series, length))
    for i in range(1, length):
        fresh[:, i] *= np.sqrt(1 - correlation**2)
        fresh[:, i] += correlation * fresh[:, i - 1]
    return fresh


def alarm_rows(trials: int) -> list[list[str]]:
    """Return the table of false alarms: a row per scene, a column per number of runs a side."""
    rows = [["false alarms, by runs a side", *map(str, RUNS)]]
    for scene in SCENES:
        rates = (false_alarms(scene, runs, trials) for runs in RUNS)
        rows.append([scene.name, *("-" if r is None else f"{r:.2%}" for r in rates)])
    return rows


def found_rows(trials: int) -> list[list[str]]:
    """Return the table of slow-downs that are found."""
    rows = [[f"{DETECT:.0%} slower", "runs recommended", "found"]]
    for scene in PLAIN:
        runs, share = found(scene, trials)
        rows.append([scene.name, str(runs), f"{share:.1%}"])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="default: %(default)s")
    parser.add_argument("--markdown", metavar="FILE", help=f"put the tables between '{MARKS[0]}'")
    args = parser.parse_args(argv)
    tables = [alarm_rows(args.trials), found_rows(args.trials)]
    for rows in tables:
        print("\n".join([*text_table(rows), ""]))
    if args.markdown:
        try:
            text = "\n\n".join("\n".join(markdown_table(rows)) for rows in tables)
            put_between_marks(Path(args.markdown), text, MARKS)
        except (R2NError, OSError) as error:
            print(f"simulate: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
