"""Latencies are told as percentiles, of every single call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return, by name, what this share of the calls stays below; linear between two of them."""
    values = np.quantile(np.asarray(seconds), list(SHARES.values()))
    return dict(zip(SHARES, map(float, values), strict=True))
