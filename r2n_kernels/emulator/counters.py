"""Counters hold a launch's instructions, multiply-accumulates, traffic, sectors, bank conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import Report
from .types import LANES, Array

SECTOR = 32  # bytes
KEPT = 200  # reports; all are counted
_FAR = np.iinfo(np.int64).max
_HASH = np.random.default_rng(0).integers(1, 1 << 62, LANES, np.int64)


@dataclass
class GlobalTraffic:
    """A GlobalTraffic counts one kind of access to global memory, in requests of a warp."""

    requests: int = 0
    bytes: int = 0  # summed over lanes
    useful: int = 0  # distinct bytes of each request
    sectors: int = 0  # distinct 32-byte sectors of each request

    @property
    def efficiency(self) -> float:
        """Return useful bytes over bytes of the sectors touched."""
        return self.useful / (SECTOR * self.sectors) if self.sectors else 1.0


@dataclass
class SharedTraffic:
    """SharedTraffic is one kind of access. wavefronts - conflicts is the cost without conflicts."""

    requests: int = 0
    bytes: int = 0
    wavefronts: int = 0
    conflicts: int = 0


@dataclass
class Work:
    """Work is what instructions did. Traffic is by their kind: ld, st, cp.async, ..."""

    instructions: Counter[str] = field(default_factory=Counter)  # once per warp
    global_: dict[str, GlobalTraffic] = field(default_factory=dict)
    shared: dict[str, SharedTraffic] = field(default_factory=dict)
    macs: int = 0  # of tensor cores

    @property
    def global_bytes(self) -> int:
        """Return the bytes that pass between SMs and L2: whole sectors."""
        return SECTOR * sum(traffic.sectors for traffic in self.global_.values())

    def global_traffic(self, kind: str) -> GlobalTraffic:
        return self.global_.setdefault(kind, GlobalTraffic())

    def shared_traffic(self, kind: str) -> SharedTraffic:
        return self.shared.setdefault(kind, SharedTraffic())

    def include(self, other: Work) -> None:
        """Add other work to this."""
        self.instructions += other.instructions
        self.macs += other.macs
        both: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            (self.global_, other.global_), (self.shared, other.shared),
        )  # fmt: skip
        for ours, theirs in both:
            for kind, traffic in theirs.items():
                sums = ours.setdefault(kind, type(traffic)())
                for name in (f.name for f in fields(traffic)):
                    setattr(sums, name, getattr(sums, name) + getattr(traffic, name))


@dataclass
class Counters(Work):
    """Counters are the work of a launch, its findings, and the same work by lines of Python."""

    lines: dict[str, Work] = field(default_factory=dict)  # by Report.source; they add up to this
    # by the place of the argument: distinct bytes (read, written) of a launch; merged ones add up.
    # Arguments that share memory count once, with the first of them.
    unique: dict[int, tuple[int, int]] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)  # the first ones
    report_counts: Counter[str] = field(default_factory=Counter)

    @property
    def fmas(self) -> int:
        """Return the multiply-adds of the float units, summed over lanes."""
        names = (n for n in self.instructions if n.split(".")[0] == "fma")
        return LANES * sum(self.instructions[n] * (2 if "x2" in n else 1) for n in names)

    def by_base(self) -> Counter[str]:
        """Count instructions by opcode without modifiers."""
        found: Counter[str] = Counter()
        for name, count in self.instructions.items():
            found[name.split(".")[0]] += count
        return found

    def add(self, report: Report) -> None:
        self.report_counts[report.kind] += 1
        if len(self.reports) < KEPT:
            self.reports.append(report)


def merge(parts: Iterable[Counters]) -> Counters:
    """Return the sum of what parts of a launch, or several launches, did."""
    total = Counters()
    for part in parts:
        total.include(part)
        for source, work in part.lines.items():
            total.lines.setdefault(source, Work()).include(work)
        total.report_counts += part.report_counts
        total.reports = (total.reports + part.reports)[:KEPT]
        for place, (read, written) in part.unique.items():
            before = total.unique.get(place, (0, 0))
            total.unique[place] = (before[0] + read, before[1] + written)
    return total


def count_global(traffic: GlobalTraffic, offsets: Array, width: int) -> None:
    """Count accesses `width` bytes wide at offsets [warps, 32], -1 for lanes that make none."""
    offsets = np.sort(offsets, axis=1)
    there = offsets >= 0
    traffic.requests += int(there[:, -1].sum())
    traffic.bytes += int(there.sum()) * width
    traffic.useful += _distinct(offsets, there) * width
    traffic.sectors += _distinct(offsets >> 5, there)


def _distinct(ordered: Array, there: Array) -> int:
    """Count the distinct values of each row, summed over all rows."""
    steps = (ordered[:, 1:] != ordered[:, :-1]) & there[:, 1:]
    return int(steps.sum()) + int(there[:, 0].sum())


def count_shared(traffic: SharedTraffic, offsets: Array, width: int) -> None:
    """Count as count_global does. Rows that differ by whole lines of all banks cost the same."""
    there = offsets >= 0
    first = np.where(there, offsets, _FAR).min(axis=1, keepdims=True)
    relative = np.where(there, offsets - (first & ~127), -1)
    _, places, counts = np.unique(relative @ _HASH, return_index=True, return_counts=True)
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        wavefronts, conflicts, lanes = _wavefronts(relative[place].tobytes(), width)
        traffic.requests += count * (lanes > 0)
        traffic.bytes += count * lanes * width
        traffic.wavefronts += count * wavefronts
        traffic.conflicts += count * conflicts


@lru_cache(maxsize=1 << 16)
def _wavefronts(key: bytes, width: int) -> tuple[int, int, int]:
    """Return (wavefronts, conflicts, lanes) of one request.

    A phase has at most 128 bytes: 32, 16 or 8 lanes of up to 4, 8 or 16 bytes. It costs the
    largest number of distinct 4-byte words in one of the 32 banks.
    """
    offsets = np.frombuffer(key, np.int64)
    lanes = np.flatnonzero(offsets >= 0)
    phase = lanes // (LANES if width <= 4 else 128 // width)
    word = (offsets[lanes] >> 2)[:, None] + np.arange(max(1, width // 4))
    pairs = np.unique(
        np.stack([np.broadcast_to(phase[:, None], word.shape).ravel(), word.ravel()]), axis=1
    )
    cost = np.zeros((LANES, LANES), np.int64)
    np.add.at(cost, (pairs[0], pairs[1] & 31), 1)
    worst = cost.max(axis=1)
    return int(worst.sum()), int((worst - 1).clip(0).sum()), len(lanes)
