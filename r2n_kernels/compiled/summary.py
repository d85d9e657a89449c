"""`r2n gate` compares these facts: what the headline model compiles to, does and costs.

A summary covers one target. Its entries are plans and instances; an entry holds groups of facts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..config import HEADLINE, VARIANTS
from ..emulator import Counters
from ..plan import Plan
from .inspection import Inspected, Key
from .instances import Request, plan_of
from .run import LOADS, STORES, Outcome, RunResult, conflicts, efficiency, macs, unique_bytes

TARGETS = ("sm_80", "sm_90", "sm_100", "sm_120")
BATCHES, SIZE = (1, 256), 224  # images, and their pixels
MAIN_LOOPS = ("gemm_tile:", "conv_tile:", "add_products:")  # the functions that hold them
# In PTX: where the source lies, comments, labels of lines. They change with an unrelated line.
DEBUG = re.compile(r"^\s*\.(?:loc|file)\b.*$|//.*$|^\$L__(?:tmp|func)\w*:", re.MULTILINE)

Group = Mapping[str, Any]  # facts by name, or {"error": why there are none}
Entry = Mapping[str, Group]  # "plan", "compiled" or "executed" -> its facts
Summary = Mapping[Key, Entry]


def requests(batches: Sequence[int] = BATCHES, targets: Sequence[str] = TARGETS) -> list[Request]:
    """Return the forward passes of the headline model in float16 that are summarised."""
    config = VARIANTS[HEADLINE]
    return [
        Request(config, batch, SIZE, SIZE, torch.float16, target)
        for target in targets
        for batch in batches
    ]


def summaries(
    requests: Sequence[Request], inspected: Sequence[Inspected]
) -> dict[str, dict[Key, Entry]]:
    """Return, by target, entries of the requests' plans and of compiled instances."""
    found: dict[str, dict[Key, Entry]] = {}
    for request in requests:
        plan = {"plan": plan_facts(plan_of(request))}
        found.setdefault(request.target, {})[Key("plan", (request.batch,))] = plan
    for one in inspected:
        found[one.instance.target][one.key] = {"compiled": compiled_facts(one)}
    return found


def executed(
    found: Mapping[str, Summary], inspected: Sequence[Inspected],
    outcomes: Sequence[Outcome[RunResult]],
) -> dict[str, dict[Key, Entry]]:  # fmt: skip
    """Return `found` with the facts of those instances that were executed."""
    keys = {one.instance: one.key for one in inspected}
    added = {target: dict(summary) for target, summary in found.items()}
    for outcome in outcomes:
        instance, result = outcome.instance, outcome.found
        facts: Group = {"error": outcome.error}
        if result is not None:
            faults = "; ".join(result.faults)
            facts = {"error": faults} if faults else executed_facts(result.counters)
        summary, key = added[instance.target], keys[instance]
        summary[key] = {**summary[key], "executed": facts}
    return added


def plan_facts(plan: Plan) -> Group:
    """Return the facts of a plan. Bytes are of activations, but for weights and workspace."""
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


def compiled_facts(one: Inspected) -> Group:
    """Return the facts of the machine code, and of how it is launched.

    loop, load, store: the narrowest load of main loops, and the narrowest of the whole kernel, in
    bytes per thread; None without any.
    """
    if one.compiled is None:
        return {"error": f"does not compile: {one.error}"}
    facts = one.compiled.facts
    loop = [a.bytes for a in facts.accesses if a.pointer.startswith(MAIN_LOOPS)]
    return {
        "uses": sum(site.launches for site in one.sites),
        "programs": max(site.grid for site in one.sites),
        "registers": facts.registers,
        "spill": facts.spill,
        "shared": facts.shared,
        "instructions": facts.instructions,
        "barriers": facts.barriers,
        "tensor cores": bool(facts.tensor_cores),
        "loop": min(loop, default=None),
        "load": min(facts.loads, default=None),
        "store": min(facts.stores, default=None),
        "code": code_hash(one.compiled.texts["ptx"]),
    }


def code_hash(ptx: str) -> str:
    """Hash the code: the same wherever the sources lie, and whatever lines it has there."""
    code = DEBUG.sub("", ptx.partition("\t.section")[0])
    return hashlib.sha256(" ".join(code.split()).encode()).hexdigest()[:12]


def executed_facts(counters: Counters) -> Group:
    """Return the facts of a step's execution, which are exact: they do not depend on the data.

    instructions: of all warps; l2: bytes of whole sectors between SMs and L2; once: distinct bytes
    of the arguments; loads, stores: useful share of the sectors; conflicts: of wavefronts.
    """
    return {
        "run macs": macs(counters),
        "run instructions": counters.instructions.total(),
        "l2": counters.global_bytes,
        "once": unique_bytes(counters),
        "loads": round(efficiency(counters, LOADS), 3),
        "stores": round(efficiency(counters, STORES), 3),
        "conflicts": round(conflicts(counters), 3),
    }


def carried(base: Summary, new: Summary) -> dict[Key, Entry]:
    """Return `new`, not executed, with what `base` knows of executions that would be the same.

    Those are of instances whose code, launches and plans are as they were.
    """

    def same(key: Key) -> bool:
        before = {group: f for group, f in base.get(key, {}).items() if group != "executed"}
        return before == new.get(key, {})

    def unchanged(key: Key) -> bool:
        return all(map(same, (key, *(Key("plan", (batch,)) for batch in key.batches))))

    return {
        key: base[key] if key in base and unchanged(key) else entry for key, entry in new.items()
    }
