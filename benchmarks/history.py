"""A series is what a thing took over many commits; its change points are where it became slower."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .changepoints import MIN_VALUES, Change, changes
from .records import Record
from .runs import Code, Peers, grouped, in_runs, is_peer, moment, place
from .significance import FLOOR


@dataclass(frozen=True)
class Series:
    """A Series is of one thing on one machine and its versions: codes in the order of their time.

    times: of each code; over the peer's where one ran beside all of them.
    """

    codes: tuple[Code, ...]
    times: tuple[float, ...]
    relative_to: str | None

    @property
    def last(self) -> Record:
        return self.codes[-1][-1]

    @property
    def enough(self) -> bool:
        """Tell whether there are so many codes that a change could be told."""
        return len(self.codes) >= MIN_VALUES

    def changes(self, floor: float = FLOOR) -> list[Change]:
        """Return the change points of log time. floor: smaller changes are none."""
        return changes(np.log(self.times).tolist(), float(np.log1p(floor)))


def series_of(records: Sequence[Record]) -> list[Series]:
    """Make the series of this project's subjects. Raises RecordError for a time that is none."""
    ordered = in_runs(sorted(records, key=moment))
    peers = Peers(ordered)
    places = grouped((record for record in ordered if not is_peer(record)), _place)
    return [_series(list(grouped(same, _code).values()), peers) for same in places.values()]


def otava_csv(series: Series) -> str:
    """Return a series as Apache Otava reads it: a time, a commit and a metric in each line."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["time", "commit", "time_ratio" if series.relative_to else "seconds"])
    for code, value in zip(series.codes, series.times, strict=True):
        writer.writerow([moment(code[0]).isoformat(), code[0].commit or "", f"{value:.9g}"])
    return file.getvalue()


def _series(found: list[Code], peers: Peers) -> Series:
    runs = [run for code in found for run in code]
    peer = next(iter(peers.common(runs, runs)), None)
    logs: Iterable[float] = (float(np.mean(peers.logs(code, peer) or [])) for code in found)
    return Series(tuple(found), tuple(float(np.exp(value)) for value in logs), peer)


def _place(record: Record) -> tuple:
    """Return what records of one series share."""
    return place(record), tuple(sorted((record.versions or {}).items()))


def _code(record: Record) -> tuple:
    """Return what records of one code share; a changed work tree whose hash is unknown is alone."""
    unknown = record.code is None and (record.dirty or record.commit is None)
    return record.commit, record.dirty, record.code, record.kernels, record.run if unknown else ""
