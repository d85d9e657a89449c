"""This file sums up `r2n bench`'s records in a few lines: images per second, longest steps."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

EAGER = "timm eager, channels_last"
COLUMNS = {  # subjects by the titles of their columns
    EAGER: "timm eager",
    "timm torch.compile, not frozen": "compiled",
    "timm torch.compile, channels_last": "frozen",
    "r2n_kernels, torch": "r2n torch",
    "r2n_kernels, triton": "r2n triton",
    "r2n_kernels, bundle": "bundle",
}
OURS = ("r2n_kernels, triton", "r2n_kernels, bundle", "r2n_kernels, torch")
LONGEST = 6  # steps of a batch


def rates(records: Iterable[dict[str, Any]]) -> list[str]:
    """Write images per second, one line per dtype and batch, and this project's over the others'.

    Then what a caller waits for one image, where it was measured by the wall clock too.
    """
    cases: dict[tuple[str, str, int], dict[str, float]] = {}
    waits: dict[str, list[str]] = {}
    for r in records:
        if r["scope"] == "model":
            case = (r["model"], r["dtype"], r["batch"])
            cases.setdefault(case, {})[r["subject"]] = r["batch"] / _median(r["samples"])
            if r["batch"] == 1 and r.get("wall"):
                told = f"{COLUMNS.get(r['subject'], r['subject'])} {1e3 * _median(r['wall']):.3f}"
                waits.setdefault(r["dtype"], []).append(told)
    if not cases:
        return []
    titles = [*COLUMNS.values(), "x eager", "x best"]
    widths = [max(9, len(title) + 1) for title in titles]
    lines = ["img/s".ljust(15) + _row(titles, widths)]
    for (_, dtype, batch), found in cases.items():
        cells = [f"{found[name]:.1f}" if name in found else "-" for name in COLUMNS]
        ours = max((found[name] for name in OURS if name in found), default=None)
        others = [rate for name, rate in found.items() if not name.startswith("r2n_kernels")]
        for base in (found.get(EAGER), max(others, default=None)):
            cells.append(f"{ours / base:.2f}" if ours and base else "-")
        lines.append(f"{dtype} b{batch}".ljust(15) + _row(cells, widths))
    for dtype, words in waits.items():
        lines += textwrap.wrap(f"wall ms, {dtype} b1: {', '.join(words)}", 100)
    return lines


def _row(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def steps(records: Iterable[dict[str, Any]], probe: Mapping[str, Any]) -> list[str]:
    """Write the longest steps of each batch, and how near each is to what bounds it.

    probe: measured ceilings, as "peak float16"; where it has none, the records' own count.
    """
    cases: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
    for r in records:
        if r["scope"] == "step" and r["subject"] in OURS:
            cases.setdefault((r["model"], r["dtype"], r["batch"]), {})[r["step"]] = r
    lines = []
    for (_, dtype, batch), found in cases.items():
        times = {name: r["count"] * _median(r["samples"]) for name, r in found.items()}
        total = sum(times.values())
        lines.append(f"steps, {dtype} b{batch}: {total * 1e3:.3f} ms in all; the longest:")
        for name in sorted(times, key=lambda name: -times[name])[:LONGEST]:
            r, us = found[name], 1e6 * _median(found[name]["samples"])
            limits = _limits(r, probe.get(f"peak {dtype}") or r["peak"] or {})
            told = ", ".join(f"{part} {value / us:.0%}" for part, value in limits.items())
            lines.append(
                f"  {name:20} x{r['count']:<3} {us:10.1f} us {times[name] / total:5.0%}  {told}"
            )
    return lines


def _limits(record: dict[str, Any], peak: dict[str, Any]) -> dict[str, float]:
    """Return the microseconds that each part of the chip with a known ceiling needs at least."""
    work = {
        "compute": (2 * record["macs"], peak.get("flops")),
        "memory": (record["bytes"], peak.get("bandwidth")),
        "L2": (record.get("bytes_l2"), peak.get("l2")),
    }
    return {part: 1e6 * amount / most for part, (amount, most) in work.items() if amount and most}


def _median(rounds: Iterable[Iterable[float]]) -> float:
    return statistics.median(map(statistics.median, rounds))
