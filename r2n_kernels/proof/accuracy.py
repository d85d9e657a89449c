"""A labelled set is counted: how often a model is right, and how often it agrees with timm.

All is added up from rows alone, so that a run that goes on with an earlier one's counts the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .tolerance import Verdict, floor_of

Z95 = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations
MAX_DIFFERING = 10  # images that are named

Logits = tuple[Sequence[Tensor], Tensor]  # a peer's: in our dtype, once a layout; in a wider one


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval for a share; total is at least 1."""
    share, spread = hits / total, Z95**2 / total
    half = Z95 * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    middle = share + spread / 2
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return max(0.0, low) if hits else 0.0, min(1.0, high) if hits < total else 1.0


def judged(logits: Tensor, target: int, topk: int) -> dict[str, Any]:
    """Return what a row says of an image's logits [classes]: right, and right among the topk.

    Logits that are no numbers are never right: what `topk` makes of them is chance.
    """
    if not bool(torch.isfinite(logits).all()):
        return {"correct": False, "in_topk": False, "finite": False}
    best = logits.topk(topk).indices.tolist()
    return {"correct": best[0] == target, "in_topk": target in best, "finite": True}


def compared(logits: Tensor, peer: Logits) -> dict[str, Any]:
    """Return what a row says of an image's logits [classes] beside timm's of the same image.

    Differences are the largest of an image, to timm in a wider dtype; None where one is no number.
    """
    rounded, truth = peer
    truth = truth.double()
    theirs = max(_difference(one, truth) for one in rounded)
    return {
        "timm_top1": int(rounded[0].argmax()),
        "difference": _number(_difference(logits, truth)),
        "timm_difference": _number(theirs),
        "scale": _number(float(truth.abs().max())),
    }


def _difference(logits: Tensor, truth: Tensor) -> float:
    return float((logits.double() - truth).abs().max())


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass
class Tally:
    """A Tally counts rows. An image that failed counts as neither right nor wrong."""

    dtype: torch.dtype
    counted: int = 0
    failed: int = 0
    top1: int = 0
    topk: int = 0
    compared: int = 0
    agreed: int = 0  # top-1 as timm's
    first_error: str | None = None
    differing: list[Mapping[str, Any]] = field(default_factory=list)  # rows, the first ones
    _worst: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row as the journal keeps it."""
        if row["error"] is not None:
            self.failed += 1
            self.first_error = self.first_error or f"{row['path']}: {row['error']}"
            return
        self.counted += 1
        self.top1 += row["correct"]
        self.topk += row["in_topk"]
        if "timm_top1" not in row:
            return
        self.compared += 1
        ours = row["topk"][0]["index"] if row["finite"] else None
        self.agreed += ours == row["timm_top1"]
        if ours != row["timm_top1"] and len(self.differing) < MAX_DIFFERING:
            self.differing.append(row)
        found = [row[key] for key in ("difference", "timm_difference", "scale")]
        for place, value in enumerate(found):
            value = math.nan if value is None else value
            worst = self._worst[place]
            self._worst[place] = value if math.isnan(value) or value > worst else worst

    @property
    def verdict(self) -> Verdict:
        """Return whether the logits of the whole set are as near to the truth as timm's own.

        The rule of `tolerance`: the largest difference of all over the largest logit of all.
        """
        difference, theirs, scale = self._worst
        scale = max(scale, torch.finfo(torch.float64).tiny)
        floor = floor_of(self.dtype, network=True)
        return Verdict("logits", difference / scale, theirs / scale, floor, self.dtype)

    def summary(self) -> dict[str, Any]:
        """Return the counts and shares, as JSON has them; at least one image was counted."""
        found: dict[str, Any] = {"images": self.counted + self.failed, "failed": self.failed}
        for name, hits in (("top1", self.top1), ("topk", self.topk)):
            low, high = wilson(hits, self.counted)
            found[name] = {
                "right": hits, "of": self.counted, "share": hits / self.counted,
                "interval95": [low, high],
            }  # fmt: skip
        if self.compared:
            verdict = self.verdict
            found["timm"] = {
                "top1_equal": self.agreed, "of": self.compared, "passed": verdict.passed,
                "error": _number(verdict.error), "limit": _number(verdict.limit),
                "differing": [row["path"] for row in self.differing],
            }  # fmt: skip
        return found
