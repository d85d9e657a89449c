"""Runs of a thing are judged against runs of its earlier code, beside what the machine did.

The time of this project's subject is judged relative to a peer that was timed in the same runs: a
slow machine slows both. Where no peer was, the time itself is judged, and as much as the machine's
measured peak moved remains in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..strict_json import is_number
from .records import Record
from .runs import Code, Peers, codes, different_versions, is_peer, merge, place, same_code
from .significance import (
    DETECT,
    FLOOR,
    MIN_RUNS,
    Estimate,
    estimate,
    noise_of,
    runs_needed,
    verdict_of,
)

VERDICTS = ("regression", "improvement", "same", "unclear", "A/A", "peer")
NO_PEER = "none"  # as relative_to: time itself is judged
CANCELS = 0.1  # of a machine's movement is left after a peer cancelled it: subjects differ
PEAK = "peak"  # the machine's measured one, among movements

Moved = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """A Comparison is of runs of one thing. ratio: of times, NEW over BASE; above 1 is slower.

    Where it is relative to a peer, the ratio is of times divided by that peer's.
    """

    base: Record  # the newest, with the rounds of all runs
    new: Record
    ratio: float
    verdict: str  # of VERDICTS
    why: str  # in a sentence; "" where ratio and interval say it
    runs: tuple[int, int]
    interval: tuple[float, float] | None = None  # of the ratio, doubt included; None: unknown
    p: float | None = None  # of the side that the ratio is on
    noise: float | None = None  # from run to run of one code, as a share of the time
    floor: float = FLOOR
    relative_to: str | None = None  # a peer's subject
    # on BASE and NEW: each peer's seconds per call, and the machine's peak in FLOP/s
    moved: Moved = field(default_factory=dict)
    needed: int | None = None  # runs a side that would find DETECT


class Judge:
    """A Judge knows all records, so that it finds the peers of a run, and earlier codes' noise."""

    def __init__(
        self, records: Sequence[Record], floor: float = FLOOR, relative_to: str | None = None,
        in_turns: bool = False,
    ) -> None:  # fmt: skip
        """Take records that name their runs (`in_runs`).

        relative_to: how the subject of a peer begins; None for the first that both sides have,
        "none" for no peer. in_turns: runs of both sides alternated, and saw the same machine.

        Raises ConfigError where no record is of that peer.
        """
        self.peers, self.codes = Peers(records), codes(records)
        self.floor, self.relative_to, self.in_turns = floor, relative_to, in_turns
        if relative_to not in (None, NO_PEER):
            subjects = dict.fromkeys(record.subject for record in records if is_peer(record))
            if not any(subject.startswith(relative_to or "") for subject in subjects):
                there = ", ".join(map(repr, subjects)) or "none"
                raise ConfigError(f"no record is of a peer '{relative_to}'; there are: {there}")

    def __call__(self, base: Code, new: Code) -> Comparison:
        """Judge runs of two codes in one place."""
        ours = not is_peer(new[-1])
        peer, moved = self._peer(base, new) if ours else None, self._moved(base, new)
        old, fresh = (self.peers.logs(side, peer) or [] for side in (base, new))
        others = self._other_logs(base, new, peer)
        one_code = same_code(base[-1], new[-1])
        noise, df = noise_of([[*old, *fresh], *others] if one_code else [old, fresh, *others])
        known: dict[str, Any] = {
            "base": merge(base), "new": merge(new), "runs": (len(base), len(new)),
            "ratio": float(np.exp(np.mean(fresh) - np.mean(old))), "relative_to": peer,
            "floor": self.floor, "moved": moved, "noise": float(np.expm1(noise)) if df else None,
        }  # fmt: skip
        if not ours:
            return Comparison(**known, verdict="peer", why="")
        if one_code:
            return Comparison(**known, verdict="A/A", why="")
        if peer is None and self.relative_to not in (None, NO_PEER):
            why = f"no '{self.relative_to}' ran beside every run of both sides"
            return Comparison(**known, verdict="unclear", why=why)
        found = estimate(old, fresh, others)
        if found is None:
            return Comparison(**known, **self._too_few(known["runs"], df, noise, moved))
        return Comparison(**known, **self._judged(found, peer, moved))

    def _judged(self, found: Estimate, peer: str | None, moved: Moved) -> dict[str, Any]:
        doubt = 0.0 if self.in_turns else doubt_of(_logs(moved), peer is not None)
        verdict, why = verdict_of(found, self.floor, doubt), ""
        needed = runs_needed(found.noise, found.df, self.floor, doubt)
        if verdict == "unclear" and (needed is None or verdict_of(found, self.floor) != verdict):
            why = "more noise than runs can average out"
            if doubt:
                why = f"the machine moved by more than can be told apart: {told(moved)}"
        elif verdict == "unclear":
            why = f"not enough runs for this noise: {needed} a side would tell {DETECT:.0%}"
        return {
            "verdict": verdict, "why": why, "p": found.p, "needed": needed,
            "interval": tuple(np.exp([found.low - doubt, found.high + doubt]).tolist()),
        }  # fmt: skip

    def _too_few(
        self, runs: tuple[int, int], df: int, noise: float, moved: Moved
    ) -> dict[str, Any]:
        needed = runs_needed(noise, df, self.floor) or MIN_RUNS
        why = f"not enough runs: {runs[0]} and {runs[1]}, {needed} a side are needed"
        if doubt_of(_logs(moved), cancelled=False) > np.log1p(DETECT):
            why += f"; the machine moved: {told(moved)}"
        return {"verdict": "unclear", "why": why, "needed": needed}

    def _peer(self, base: Code, new: Code) -> str | None:
        if self.relative_to == NO_PEER:
            return None
        common = self.peers.common(base, new)
        return next((p for p in common if p.startswith(self.relative_to or "")), None)

    def _moved(self, base: Code, new: Code) -> dict[str, tuple[float, float]]:
        """Return what the machine did on both sides: times of common peers, and its peak."""
        common, sides = self.peers.common(base, new), (base, new)
        found: dict[str, list[list[Any]]] = {
            peer: [[self.peers.beside(run)[peer].median for run in side] for side in sides]
            for peer in common
        }
        peaks = [[_peak(run) for run in side] for side in sides]
        known = {value for side in peaks for value in side}
        if len(known) > 1 and None not in known:  # one value is a maker's figure
            found[PEAK] = peaks
        return {name: (_typical(old), _typical(new)) for name, (old, new) in found.items()}

    def _other_logs(self, base: Code, new: Code, peer: str | None) -> list[list[float]]:
        """Return log times of other codes in the same place, a list for each; each run once."""
        seen = {run.run for run in (*base, *new)}
        found = []
        for code in self.codes.get(place(new[-1]), []):
            if different_versions(code[-1], new[-1]) or any(run.run in seen for run in code):
                continue
            seen |= {run.run for run in code}
            if logs := self.peers.logs(code, peer):
                found.append(logs)
        return found


def told(moved: Moved) -> str:
    """Write what the machine did, by each control."""
    return ", ".join(
        f"{name} {old / 1e9:.4g} -> {new / 1e9:.4g} GFLOP/s" if name == PEAK
        else f"{name} {old * 1e3:.4g} -> {new * 1e3:.4g} ms"
        for name, (old, new) in moved.items()
    )  # fmt: skip


def doubt_of(moved: Iterable[float], cancelled: bool) -> float:
    """Return how far a log ratio may be wrong, by logs of how the machine moved.

    cancelled: whether it is a ratio of times over a peer's.
    """
    return max(map(abs, moved), default=0.0) * (CANCELS if cancelled else 1)


def _logs(moved: Moved) -> list[float]:
    return [float(np.log(new / old)) for old, new in moved.values()]


def _typical(values: Sequence[Any]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _peak(record: Record) -> float | None:
    flops: Any = (record.peak or {}).get("flops")
    return float(flops) if is_number(flops) and 0 < flops < np.inf else None
