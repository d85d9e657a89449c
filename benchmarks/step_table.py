"""Results of `steps` as a table, each beside what bounds it on this device."""

from __future__ import annotations

from collections.abc import Sequence

from .peak import Peak
from .steps import Kind, StepResult

TITLES = (
    "step", "op", "n", "ms", "twin ms", "speed-up", "TFLOP/s", "GB/s", "of roofline", "error",
)  # fmt: skip


def table(results: Sequence[StepResult], peak: Peak) -> list[Sequence[str]]:
    """With its titles. Where L2's bandwidth is known, also which bound the roofline is."""
    if peak.l2 is None:
        return [TITLES, *(_cells(result, peak) for result in results)]
    bounds = (max(by := bounds_of(r.kind, peak), key=by.get) if r.ours else "-" for r in results)
    rows = [[*_cells(r, peak), bound] for r, bound in zip(results, bounds, strict=True)]
    return [(*TITLES, "bound"), *rows]


def bounds_of(kind: Kind, peak: Peak) -> dict[str, float]:
    """Seconds that the step takes at least: to compute, and to move its bytes."""
    bounds = {"compute": 2 * kind.step.macs / peak.flops, "memory": kind.bytes / peak.bandwidth}
    if peak.l2:
        bounds["L2"] = kind.step.bytes_l2 / peak.l2
    return bounds


def _cells(result: StepResult, peak: Peak) -> list[str]:
    """Texts in the order of TITLES. The roofline is the longest of the bounds."""
    kind = result.kind
    head = [kind.step.name, kind.step.op, str(kind.count)]
    if result.ours is None:
        return [*head, "wrong", *["-"] * 5, f"{kind.verdict.error:.0e}"]
    seconds = result.ours.median
    share = max(bounds_of(kind, peak).values()) / seconds
    return [
        *head, *(f"{samples.median * 1e3:.4f}" for samples in (result.ours, result.twin)),
        f"{result.ours.speedup_over(result.twin):.2f}x",
        f"{2 * kind.step.macs / seconds / 1e12:.3f}", f"{kind.bytes / seconds / 1e9:.1f}",
        f"{share:.0%}", f"{kind.verdict.error:.0e}",
    ]  # fmt: skip
