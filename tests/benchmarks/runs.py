"""Records of runs that never were: a subject and its peer, at given times."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from r2n_kernels.benchmarks.records import Record

TIMM = "timm eager, channels_last"
BASE, NEW = "a" * 40, "b" * 40  # commits


def runs(
    record: Record, seconds: Iterable[float], peer: Iterable[float] = (),
    peak: Iterable[float] = (), commit: str = BASE, **changes,
) -> list[Record]:  # fmt: skip
    """A record per process of three rounds, and one of the peer's where it is stated."""
    return list(_runs(record, seconds, list(peer), list(peak), commit, changes))


def _runs(record, seconds, peer, peak, commit, changes) -> Iterator[Record]:
    for i, time in enumerate(seconds):
        shared = {
            "commit": commit, "run": f"{commit[0]}{i}", "again": (), "versions": {"torch": "2"},
            "peak": {"flops": peak[i], "bandwidth": None, "source": "measured"} if peak else None,
            **changes,
        }  # fmt: skip
        if peer:
            samples = ((peer[i],),) * 3
            other = dataclasses.replace(record, subject=TIMM, samples=samples, **shared)
            yield dataclasses.replace(other, versions={"torch": "2", "timm": "1.0"})
        yield dataclasses.replace(record, samples=((time,),) * 3, **shared)
