from __future__ import annotations

import pytest

from r2n_kernels.benchmarks.percentiles import percentiles


def test_by_name_between_two_calls():
    found = percentiles([i / 1000 for i in range(1001)])
    assert list(found) == ["p50", "p90", "p95", "p99", "p99.9"]
    assert list(found.values()) == pytest.approx([0.5, 0.9, 0.95, 0.99, 0.999])


def test_of_one_call():
    assert set(percentiles([0.25]).values()) == {0.25}
