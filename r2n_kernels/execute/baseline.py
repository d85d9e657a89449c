"""What the headline model compiles to and does, as it was last accepted: a test compares.

python -m r2n_kernels.execute.baseline PATH     # write it afresh, after a change that was meant
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..aot.cache import Cache, default_folder
from ..aot.inspection import Row, inspect
from ..aot.instances import Request
from ..aot.pool import Pool
from ..config import HEADLINE, VARIANTS
from ..emulator import Counters
from .run import Result, execute, units
from .table import conflicts, efficiency, macs, unique_bytes
from .trial import How

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
BATCHES = (1, 256)
MAIN_LOOPS = ("gemm_tile:", "conv_tile:")  # the functions that hold them
Summary = dict[str, dict[str, dict[str, Any]]]  # target -> instance -> facts


def requests(size: int = 224, batches: Sequence[int] = BATCHES) -> list[Request]:
    """Forward passes of the headline model in float16 on the baseline's targets."""
    config = VARIANTS[HEADLINE]
    return [
        Request(config, batch, size, size, torch.float16, target)
        for target in TARGETS
        for batch in batches
    ]


def headline(pool: Pool, cache: Cache | None = None) -> list[Row]:
    """Every instance of them, compiled."""
    return inspect(requests(), pool, cache=cache)


def run(rows: Sequence[Row], pool: Pool, how: How | None = None) -> list[Result]:
    """Every instance of `headline`, executed."""
    return execute(units(requests(), rows, how or How()), pool)


def compiled_summary(rows: Sequence[Row]) -> Summary:
    """Facts of the code that a change of the kernels should not change unseen."""

    def facts_of(row: Row) -> dict[str, Any]:
        facts = row.compiled.facts
        loop = [a.bytes for a in facts.accesses if a.pointer.startswith(MAIN_LOOPS)]
        return {
            "registers": facts.registers,
            "spill": facts.spill,
            "shared": facts.shared,
            "tensor cores": bool(facts.tensor_cores),
            "loop": min(loop, default=None),  # narrowest load, in bytes a thread
        }

    return _by_target(rows, lambda row: (row.instance.target, row.name, facts_of(row)))


def executed_summary(rows: Sequence[Row], results: Sequence[Result]) -> Summary:
    """Facts of the execution of a step, exact: they do not depend on the data."""
    names = {row.instance: row.name for row in rows}

    def counts(result: Result) -> tuple[str, str, dict[str, Any]]:
        unit, trial, tried = result
        return unit.request.target, names[trial.instance], counted(tried.counters)

    return _by_target(results, counts)


def counted(counters: Counters) -> dict[str, Any]:
    """l2: bytes of whole sectors between SMs and L2; once: distinct bytes of the arguments."""
    return {
        "macs": macs(counters),
        "instructions": counters.instructions.total(),
        "l2": counters.global_bytes,
        "once": unique_bytes(counters),
        "loads": round(efficiency(counters, ("ld", "cp.async")), 3),
        "stores": round(efficiency(counters, ("st",)), 3),
        "conflicts": round(conflicts(counters), 3),
    }


def _by_target(items: Sequence[Any], entry: Callable[[Any], tuple[str, str, dict]]) -> Summary:
    found: Summary = {}
    for item in items:
        target, name, facts = entry(item)
        found.setdefault(target, {})[name] = facts
    return found


def text(compiled: Summary, executed: Summary) -> str:
    """JSON, a line an instance."""
    lines = [f'{{"triton": {json.dumps(version("triton"))}']
    for target, instances in compiled.items():
        inner = (
            f"  {json.dumps(name)}: {json.dumps(facts | executed[target][name])}"
            for name, facts in instances.items()
        )
        lines.append(f'"{target}": {{\n' + ",\n".join(inner) + "\n}")
    return ",\n".join(lines) + "}\n"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m r2n_kernels.execute.baseline PATH", file=sys.stderr)
        return 2
    with Pool(os.cpu_count() or 1) as pool:
        rows = headline(pool, Cache(default_folder()))
        failed = [f"{row.instance.target} {row.name}: {row.error}" for row in rows if row.error]
        results = [] if failed else run(rows, pool)
    for unit, trial, tried in results:
        faults = [tried] if isinstance(tried, str) else tried.faults
        failed += (f"{unit.request.target} {trial.instance.name}: {fault}" for fault in faults)
    if failed:
        print("\n".join(failed), file=sys.stderr)
        return 1
    summary = text(compiled_summary(rows), executed_summary(rows, results))
    Path(arguments[0]).write_text(summary, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
