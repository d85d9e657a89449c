"""A model's accuracy on labelled images is counted here, and how far it is from a peer's.

What a count is made of stands in the rows, so that a run that goes on from an earlier one's rows
comes to the same report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..results import Row
from .tolerance import Verdict, floor_of

FIELDS = ("label", "target", "correct", "in_top5")  # of a row: extra
PEER_FIELDS = ("timm_top1", "difference", "our_error", "timm_error")
SHOWN = 5  # images named in a report
Z = 1.959964  # of a normal distribution, 95 % lies within so many standard deviations


@dataclass(frozen=True)
class Share:
    """A Share is how many of how many."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval: where the share of all such images is likely to lie."""
        if not self.total:
            return 0.0, 1.0
        p, n = self.value, self.total
        centre, spread = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        low, high = ((centre + sign * spread) / (1 + Z**2 / n) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)

    def record(self) -> dict[str, Any]:
        low, high = self.interval
        value = self.value if self.total else None
        return {"count": self.count, "total": self.total, "share": value, "interval": [low, high]}


def facts(
    label: int | str | None, target: int | None = None, logits: Tensor | None = None
) -> dict[str, Any]:
    """Return a row's FIELDS: its label, the label's class, whether logits [num_classes] name it.

    The five best of fewer than five classes are all of them, as timm counts.
    """
    best = None
    if logits is not None and target is not None:
        best = logits.topk(min(5, len(logits))).indices.tolist()
    return {
        "label": label,
        "target": target,
        "correct": best and best[0] == target,
        "in_top5": best and target in best,
    }


@dataclass
class Tally:
    """A Tally counts rows. dtype: what the network runs in, where there is a peer."""

    dtype: torch.dtype | None = None
    failed: int = 0  # images that could not be read
    mislabelled: int = 0  # their label is no class
    unlabelled: int = 0
    labelled: int = 0
    top1: int = 0
    top5: int = 0
    compared: int = 0
    agreed: int = 0
    timm_top1: int = 0
    errors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PEER_FIELDS[1:], 0.0))
    differing: list[dict[str, Any]] = field(default_factory=list)  # the first few
    far: list[tuple[float, str]] = field(default_factory=list)  # the farthest few

    def add(self, row: Row) -> None:
        """Count a row, whose extra has FIELDS and, with a peer, PEER_FIELDS."""
        said = row.extra
        if row.error is not None:
            wrong = said["label"] is not None and said["target"] is None
            self.mislabelled += wrong
            self.failed += not wrong
            return
        if said["target"] is None:
            self.unlabelled += 1
        else:
            self.labelled += 1
            self.top1 += said["correct"]
            self.top5 += said["in_top5"]
        if self.dtype is not None:
            self._compare(row.path, row.top[0][0], said)

    def _compare(self, path: str, ours: int, said: Mapping[str, Any]) -> None:
        theirs, target = said["timm_top1"], said["target"]
        self.compared += 1
        self.agreed += ours == theirs
        if target is not None:
            self.timm_top1 += theirs == target
        for name, worst in self.errors.items():
            self.errors[name] = worse(worst, _number(said[name]))
        if ours != theirs and len(self.differing) < SHOWN:
            told = {"path": path, "ours": ours, "timm": theirs, "target": target}
            self.differing.append(told)
        error = _number(said["our_error"])
        far = [*self.far, (math.inf if math.isnan(error) else error, path)]
        self.far = sorted(far, key=lambda one: -one[0])[:SHOWN]  # of equals the first ones stay

    @property
    def shares(self) -> dict[str, Share]:
        """Return the shares by name."""
        found = {"top1": Share(self.top1, self.labelled), "top5": Share(self.top5, self.labelled)}
        if self.dtype is not None:
            found["timm_top1"] = Share(self.timm_top1, self.labelled)
        return found

    @property
    def verdict(self) -> Verdict | None:
        """Return the rule's verdict on all logits; None without a peer, or an image.

        The largest of our errors is held to the largest of eager's, each relative to the largest
        logit of its image.
        """
        if self.dtype is None or not self.compared:
            return None
        ours, eager = self.errors["our_error"], self.errors["timm_error"]
        return Verdict("logits", ours, eager, floor_of(self.dtype, network=True), self.dtype)

    @property
    def beyond(self) -> list[str]:
        """Return the images farthest beyond the rule, a few at most."""
        verdict = self.verdict
        if verdict is None:
            return []
        return [path for error, path in self.far if not error <= verdict.limit]

    def objections(self, min_top1: float | None = None) -> list[str]:
        """Return why the verdict is no; nothing where it is yes."""
        found = []
        top1, verdict = self.shares["top1"], self.verdict
        if min_top1 is not None and not top1.value >= min_top1:
            found.append(f"top-1 {top1.value:.2%} is below {min_top1:.2%}")
        if verdict is not None and not verdict.passed:
            found.append(f"logits differ by {verdict.error:.1e}, the limit is {verdict.limit:.1e}")
        return found

    def record(self) -> dict[str, Any]:
        """Return the report, as JSON has it."""
        counts = ("labelled", "unlabelled", "mislabelled", "failed")
        found: dict[str, Any] = {name: getattr(self, name) for name in counts}
        found |= {name: share.record() for name, share in self.shares.items()}
        if self.verdict is not None:
            found["agreement"] = {
                "images": self.compared,
                "same_top1": self.agreed,
                **{name: finite(value) for name, value in self.errors.items()},
                "limit": finite(self.verdict.limit),
                "passed": self.verdict.passed,
                "differing": self.differing,
                "beyond_limit": self.beyond,
            }
        return found


def worse(before: float, now: float) -> float:
    """Return the larger of two errors; NaN is the largest."""
    return before if math.isnan(before) or now <= before else now


def finite(value: float) -> float | None:
    """Return a number as JSON has it: None where it is none."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
