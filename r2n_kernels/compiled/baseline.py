"""What the headline model compiles to, does and costs: the facts that `r2n gate` compares.

A summary is of one target. Its entries are plans ("plan b256") and instances, by their rows' names;
an entry holds groups of facts. `r2n gate --update` writes them to a file (see baseline_file.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..config import HEADLINE, VARIANTS
from ..emulator import Counters
from ..kernels.targets import TARGETS as CHIPS
from ..plan import Plan, build_plan
from .cache import Cache
from .inspection import Row, inspect
from .instances import Request
from .pool import Pool
from .run import Result, execute, units
from .run_table import conflicts, efficiency, macs, unique_bytes
from .trial import How

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
BATCHES = (1, 256)
NVIDIA = tuple(name for name, chip in CHIPS.items() if chip.backend == "cuda")  # they have PTX
MAIN_LOOPS = ("gemm_tile:", "conv_tile:")  # the functions that hold them
# Of PTX: where the source lies, comments, labels of lines. They change with an unrelated line.
DEBUG = re.compile(r"^\s*\.(?:loc|file)\b.*$|//.*$|^\$L__(?:tmp|func)\w*:", re.MULTILINE)

Facts = Mapping[str, Any]
Entry = Mapping[str, Facts]  # group of facts -> the facts, or {"error": why there are none}
Summary = Mapping[str, Entry]  # name -> entry


def requests(
    size: int = 224, batches: Sequence[int] = BATCHES, targets: Sequence[str] = TARGETS
) -> list[Request]:
    """Forward passes of the headline model in float16."""
    config = VARIANTS[HEADLINE]
    return [
        Request(config, batch, size, size, torch.float16, target)
        for target in targets
        for batch in batches
    ]


def headline(pool: Pool, cache: Cache | None = None) -> list[Row]:
    """Every instance of them, compiled."""
    return inspect(requests(), pool, cache=cache)


def run(rows: Sequence[Row], pool: Pool, how: How | None = None) -> list[Result]:
    """Every instance of `headline`, executed."""
    return execute(units(requests(), rows, how or How()), pool)


def summaries(requests: Sequence[Request], rows: Sequence[Row]) -> dict[str, Summary]:
    """By target: plans of the requests, and compiled instances."""
    found: dict[str, dict[str, Entry]] = {}
    for request in requests:
        plan = {"plan": plan_facts(plan_of(request))}
        found.setdefault(request.target, {})[f"plan b{request.batch}"] = plan
    for row in rows:
        found[row.instance.target][row.name] = {"compiled": compiled_facts(row)}
    return found


def executed(
    found: Mapping[str, Summary], rows: Sequence[Row], results: Sequence[Result]
) -> dict[str, Summary]:
    """`found`, with what came of executing some of its instances."""
    names = {row.instance: row.name for row in rows}
    added = {target: dict(summary) for target, summary in found.items()}
    for _, trial, tried in results:
        faults = [tried] if isinstance(tried, str) else tried.faults
        facts = {"error": "; ".join(faults)} if faults else executed_facts(tried.counters)
        summary, name = added[trial.instance.target], names[trial.instance]
        summary[name] = {**summary[name], "executed": facts}
    return added


def plan_of(request: Request) -> Plan:
    return build_plan(
        request.config, request.batch, request.height, request.width, request.dtype, "triton",
        target=CHIPS[request.target], schedule=request.schedule,
    )  # fmt: skip


def plan_facts(plan: Plan) -> Facts:
    """See plan.types.Plan; bytes but for weights and workspace are of activations."""
    return {
        "launches": plan.launches,
        "bytes read": plan.bytes_read,
        "bytes written": plan.bytes_written,
        "bytes scratch": plan.bytes_scratch,
        "bytes l2": plan.bytes_l2,
        "weight bytes": plan.weight_bytes,
        "workspace bytes": plan.workspace_bytes,
        "macs": plan.macs,
        "executed macs": plan.executed_macs,
    }


def compiled_facts(row: Row) -> Facts:
    """Of the code, and of how it is launched. instructions: in the text of the machine code."""
    if row.compiled is None:
        return {"error": f"does not compile: {row.error}"}
    facts = row.compiled.facts
    loop = [a.bytes for a in facts.accesses if a.pointer.startswith(MAIN_LOOPS)]
    return {
        "uses": sum(use.launches for use in row.uses),
        "programs": max(use.grid for use in row.uses),
        "registers": facts.registers,
        "spill": facts.spill,
        "shared": facts.shared,
        "instructions": facts.instructions,
        "barriers": facts.barriers,
        "tensor cores": bool(facts.tensor_cores),
        "loop": min(loop, default=None),  # narrowest load of main loops, in bytes a thread ...
        "load": min(facts.loads, default=None),  # ... of the whole kernel ...
        "store": min(facts.stores, default=None),
        "code": code_hash(row.compiled.texts["ptx"]),
    }


def code_hash(ptx: str) -> str:
    """The same wherever the sources lie, and whatever lines the code has there."""
    code = DEBUG.sub("", ptx.partition("\t.section")[0])
    return hashlib.sha256(" ".join(code.split()).encode()).hexdigest()[:12]


def executed_facts(counters: Counters) -> Facts:
    """Of a step, exact: they do not depend on the data.

    instructions: of all warps; l2: bytes of whole sectors between SMs and L2; once: distinct bytes
    of the arguments; loads, stores: useful share of the sectors; conflicts: of wavefronts.
    """
    return {
        "run macs": macs(counters),
        "run instructions": counters.instructions.total(),
        "l2": counters.global_bytes,
        "once": unique_bytes(counters),
        "loads": round(efficiency(counters, ("ld", "cp.async")), 3),
        "stores": round(efficiency(counters, ("st",)), 3),
        "conflicts": round(conflicts(counters), 3),
    }


def carried(base: Summary, new: Summary) -> Summary:
    """`new`, not executed, with what `base` knows of executions that would still be the same.

    Those are of instances whose code, launches and plans are as they were.
    """
    before = {
        name: {group: facts for group, facts in entry.items() if group != "executed"}
        for name, entry in base.items()
    }

    def unchanged(name: str) -> bool:
        plans = (f"plan b{batch}" for batch in batches(name))
        return all(before.get(other) == new.get(other) for other in (name, *plans))

    return {
        name: base[name] if name in base and unchanged(name) else entry
        for name, entry in new.items()
    }


def batches(name: str) -> list[str]:
    """ "layer3.1.conv1 b1,256 conv1 ..." -> ["1", "256"]."""
    return name.split(" ")[1].removeprefix("b").split(",")
