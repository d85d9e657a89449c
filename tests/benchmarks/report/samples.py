"""Records as a project would have them, for the report's tests."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterator

from r2n_kernels.benchmarks.records import Record

START = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
ROUNDS = 9
STEPS = (("conv1", 1), ("layer1.0.conv1", 1), ("layer1.1.stage", 2), ("layer3.1.stage", 22))
PEAK = {"flops": 2e11, "bandwidth": 2e10, "source": "measured here"}


def samples(seconds: float, rounds: int = ROUNDS) -> tuple[tuple[float, ...], ...]:
    """Two calls a round, with half a percent of spread."""
    return tuple((seconds * (1 + 0.0005 * i), seconds * (1 + 0.0005 * i)) for i in range(rounds))


def at(day: float) -> str:
    return (START + datetime.timedelta(days=day)).isoformat(timespec="seconds")


def timed(record: Record, seconds: float, day: float = 0, **changes) -> Record:
    """`record` of that time, taken on that day."""
    return dataclasses.replace(record, samples=samples(seconds), again=(), time=at(day), **changes)


def history_of(record: Record, seconds: list[float], runs: int = 1) -> list[Record]:
    """A commit a day, in some runs."""
    return [
        timed(record, value * (1 + 1e-4 * (i + 1 - runs)), day + i / 100, commit=f"{day:x}" * 40)
        for day, value in enumerate(seconds)
        for i in range(runs)
    ]


def steps_of(record: Record) -> Iterator[Record]:
    for subject, factor in (("timm eager", 1.0), ("r2n_kernels", 0.7)):
        for i, (step, count) in enumerate(STEPS):
            yield timed(
                record, 0.01 * factor * (i + 1), subject=subject, scope="step", step=step,
                count=count, macs=10**8 * (i + 1), bytes=10**7, peak=PEAK,
            )  # fmt: skip


def project(record: Record) -> list[Record]:
    """Two subjects at three batch sizes, a regression of one, and steps."""
    record = dataclasses.replace(record, model="res2net101_26w_4s", peak=PEAK, memory=2**28)
    found = []
    for subject, factor in (("timm eager", 1.0), ("r2n_kernels", 0.7)):
        for batch in (1, 2, 8):
            one = dataclasses.replace(
                record, subject=subject, batch=batch, macs=8_066_974_464 * batch
            )
            worse = subject == "r2n_kernels" and batch == 8
            seconds, slower = 0.1 * batch * factor, 1.1 if worse else 1.0
            found += history_of(one, [seconds, seconds, seconds * slower], 5 if batch == 8 else 1)
    return [*found, *steps_of(record)]


def colours(html: str) -> tuple[dict[str, str], dict[str, str]]:
    """The page's CSS variables in light and in dark mode."""
    light, _, dark = html.partition("@media (prefers-color-scheme: dark)")
    return tuple(dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", css)) for css in (light, dark))
