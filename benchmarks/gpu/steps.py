"""Each timed step against what bounds it here: compute, memory, and L2, by measured ceilings.

The bytes through L2 and the multiply-accumulates that a step executes are the plan's, padding
included; the ceilings are those that `probe` measured, or the record's own.

usage: steps.py RECORDS.jsonl PROBE.json OUT.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...config import VARIANTS
from ...kernels.targets import target_of
from ...plan import Step, build_plan
from ..records import Record, read
from .facts import Facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("probe", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = json.loads(args.probe.read_text(encoding="utf-8")) if args.probe.exists() else {}
    steps = [
        record for record in read(args.records).records
        if record.scope == "step" and record.subject.startswith("r2n_kernels")
    ]  # fmt: skip
    facts = Facts(args.out)
    for dtype, batch in dict.fromkeys((record.dtype, record.batch) for record in steps):
        some = [record for record in steps if (record.dtype, record.batch) == (dtype, batch)]
        facts.keep(f"{dtype} b{batch}", bounds(some, found.get(f"peak {dtype}")))
    print(f"{len(steps)} records of steps, held to what bounds them", flush=True)


def bounds(records: Sequence[Record], measured: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Of one network and batch, longest first; times in microseconds, of one step.

    measured: flops, bandwidth and l2 a second, as `peak.Peak`; the records' own without it.
    """
    latest = {record.step: record for record in records}  # of two runs the later
    steps = {step.name: step for step in plan_of(records[0])}
    rows = []
    for name, record in latest.items():
        parts = limits(steps[name], record, measured or record.peak or {})
        bound = max(parts, key=lambda part: parts[part]) if parts else None
        us = record.median * 1e6
        rows.append(
            {
                "step": name, "op": steps[name].op, "count": record.count, "us": round(us, 2),
                **{f"{part} us": round(value, 2) for part, value in parts.items()},
                "bound": bound, "reached": round(parts[bound] / us, 3) if bound else None,
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row["us"] * row["count"])


def limits(step: Step, record: Record, peak: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds that each part of the chip needs at least; those whose ceiling is known."""
    work = {
        "compute": (2 * step.executed_macs, peak.get("flops")),
        "memory": (record.bytes or 0, peak.get("bandwidth")),
        "L2": (step.bytes_l2, peak.get("l2")),
    }
    return {part: 1e6 * amount / most for part, (amount, most) in work.items() if amount and most}


def plan_of(record: Record) -> tuple[Step, ...]:
    """As it ran: on this machine's GPU, or on the CPU."""
    target = target_of(torch.device("cuda")) if record.backend == "triton" else None
    shape = (record.batch, record.height, record.width, getattr(torch, record.dtype))
    return build_plan(VARIANTS[record.model], *shape, record.backend, target=target).steps


if __name__ == "__main__":
    main()
