"""Records become the JSON of other tools: pytest-benchmark's, and github-action-benchmark's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..version import __version__
from .records import Record
from .report.data import newest
from .runs import name_of


def pytest_benchmark(records: Sequence[Record]) -> dict[str, Any]:
    """Return what `pytest-benchmark compare` reads: seconds, a round for each of ours.

    It has room for one commit, which is the last record's; each benchmark states its own besides.
    """
    last = records[-1]
    return {
        "machine_info": {**last.machine, "cpu": {"brand_raw": str(last.machine.get("cpu"))}},
        "commit_info": {
            "id": last.commit, "time": last.time, "author_time": last.time, "dirty": last.dirty,
            "project": "r2n_kernels", "branch": last.branch or "(unknown)",
        },
        "benchmarks": [_benchmark(record) for record in newest(records)],
        "datetime": last.time,
        "version": f"r2n_kernels {__version__}",
    }  # fmt: skip


def _benchmark(record: Record) -> dict[str, Any]:
    case = {"model": record.model, "dtype": record.dtype, "batch": record.batch,
            "size": f"{record.height}x{record.width}"}  # fmt: skip
    return {
        "group": ", ".join(map(str, (*case.values(), record.step or record.scope))),
        "name": record.subject, "fullname": name_of(record), "params": case,
        "param": None, "extra_info": {"commit": record.commit, "backend": record.backend},
        "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": len(record.samples),
                    "max_time": 0, "min_time": 0, "warmup": True},
        "stats": _stats(record.medians),
    }  # fmt: skip


def _stats(rounds: Sequence[float]) -> dict[str, Any]:
    """Compute what pytest-benchmark does, by its own definitions."""
    low, middle, high = (float(np.quantile(rounds, share)) for share in (0.25, 0.5, 0.75))
    mean, spread = statistics.fmean(rounds), high - low
    deviation = statistics.stdev(rounds) if len(rounds) > 1 else 0.0
    inside = [second for second in rounds if low - 1.5 * spread <= second <= high + 1.5 * spread]
    far = sum(abs(second - mean) > deviation for second in rounds)
    out = len(rounds) - len(inside)
    return {
        "min": min(rounds), "max": max(rounds), "mean": mean, "stddev": deviation,
        "rounds": len(rounds), "median": middle, "iqr": spread, "q1": low, "q3": high,
        "iqr_outliers": out, "stddev_outliers": far, "outliers": f"{far};{out}",
        "ld15iqr": min(inside), "hd15iqr": max(inside), "ops": 1 / mean, "total": sum(rounds),
        "iterations": 1, "data": list(rounds),
    }  # fmt: skip


def smaller_is_better(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return github-action-benchmark's `customSmallerIsBetter`: milliseconds per call."""
    return [
        {
            "name": name_of(record),
            "unit": "ms",
            "value": record.median * 1e3,
            "range": f"± {np.std(record.medians) * 1e3:.3g}",
            "extra": f"{record.batch / record.median:.2f} img/s\ncommit {record.commit}",
        }
        for record in newest(records)
    ]


FORMATS: Mapping[str, Callable[[Sequence[Record]], Any]] = {
    "pytest-benchmark": pytest_benchmark,
    "github-action-benchmark": smaller_is_better,
}
