"""What the headline model compiled to when it was last looked at: a test compares.

python -m r2n_kernels.aot.baseline PATH     # write it afresh, after a change that was meant
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..config import HEADLINE, VARIANTS
from .cache import Cache, default_folder
from .inspection import Row, inspect
from .instances import Request
from .pool import Pool

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
BATCHES = (1, 256)
MAIN_LOOPS = ("gemm_tile:", "conv_tile:")  # the functions that hold them


def headline(pool: Pool, cache: Cache | None = None) -> list[Row]:
    """Every instance of the headline model at 224 px in float16 on the baseline's targets."""
    config = VARIANTS[HEADLINE]
    requests = [
        Request(config, batch, 224, 224, torch.float16, target)
        for target in TARGETS
        for batch in BATCHES
    ]
    return inspect(requests, pool, cache=cache)


def summary(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Target -> name -> facts that a change of the kernels should not change unseen."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        facts = row.compiled.facts
        loop = [a.bytes for a in facts.accesses if a.pointer.startswith(MAIN_LOOPS)]
        found.setdefault(row.instance.target, {})[row.name] = {
            "registers": facts.registers,
            "spill": facts.spill,
            "shared": facts.shared,
            "tensor cores": bool(facts.tensor_cores),
            "loop": min(loop, default=None),  # narrowest load, in bytes a thread
        }
    return found


def text(rows: Sequence[Row]) -> str:
    """JSON, a line an instance."""
    lines = [f'{{"triton": {json.dumps(version("triton"))}']
    for target, instances in summary(rows).items():
        inner = (f"  {json.dumps(name)}: {json.dumps(f)}" for name, f in instances.items())
        lines.append(f'"{target}": {{\n' + ",\n".join(inner) + "\n}")
    return ",\n".join(lines) + "}\n"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m r2n_kernels.aot.baseline PATH", file=sys.stderr)
        return 2
    with Pool(os.cpu_count() or 1) as pool:
        rows = headline(pool, Cache(default_folder()))
    failed = [f"{row.instance.target} {row.name}: {row.error}" for row in rows if row.error]
    if failed:
        print("\n".join(failed), file=sys.stderr)
        return 1
    Path(arguments[0]).write_text(text(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
