"""The likeliest classes of an image are named, best first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Top = list[tuple[int, str | None, float]]  # index, label, probability; best first


def best(probabilities: Tensor, topk: int, labels: Sequence[str] | None) -> Top:
    """Return the likeliest classes of probabilities [num_classes]."""
    values, indices = (t.tolist() for t in probabilities.topk(topk))
    names = [labels[i] if labels else None for i in indices]
    return list(zip(indices, names, values, strict=True))
