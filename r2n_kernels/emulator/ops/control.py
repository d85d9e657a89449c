"""This file builds branches, barriers of a CTA, fences and the end."""

from __future__ import annotations

import numpy as np

from ..batch import STOP
from ..clocks import is_fence
from ..errors import EmulationError, UnsupportedError
from ..group import DONE, Group
from ..kernel import Kernel, Run, op, uniform_value, warp_rows
from ..parse import Instruction
from ..types import LANES, Array
from .cluster import cluster_barrier


@op("memory", "bra")
def _branch(k: Kernel, ins: Instruction) -> Run:
    label, labels = ins.operands[0], k.program.labels
    target = next((labels[s, label] for s in reversed(ins.scopes) if (s, label) in labels), None)
    if target is None:
        raise UnsupportedError(f"label {label}")
    if ins.pred is None:
        return lambda g: target
    predicate = k.predicate(ins)

    def run(g: Group):
        rows = warp_rows(g, ins, predicate(g))
        if rows is True:
            return target
        return None if rows is False else rows

    return run


@op("warp", "brx")
def _branch_indexed(k: Kernel, ins: Instruction) -> Run:
    index, table = k.src(ins.operands[0], "u32"), k.program.tables[ins.operands[1]]
    targets = [
        next(k.program.labels[s, x] for s in reversed(ins.scopes) if (s, x) in k.program.labels)
        for x in table
    ]

    def run(g: Group) -> Array | int:
        chosen = uniform_value(g, ins, index)
        same = chosen == chosen[0]
        if not same.all():
            return same
        if chosen[0] >= len(targets):
            raise EmulationError(f"{ins.source}: index {chosen[0]} of {len(targets)} targets")
        return targets[int(chosen[0])]

    return run


@op("warp", "setmaxnreg", "griddepcontrol")
def _hint(k: Kernel, ins: Instruction) -> Run:
    """Build what changes no result: registers of a warpgroup, launches that depend on this one."""
    return lambda g: None


@op("warp", "ret", "exit")
def _return(k: Kernel, ins: Instruction) -> Run:
    def run(g: Group) -> int:
        if g.inflight:
            raise EmulationError(f"{ins.source}: a warp ends with registers in flight")
        for copy in g.copies.flying:
            copy.retire(g)
        g.bulks.end(g, ins)
        g.state = DONE
        return STOP

    return run


@op("warp", "trap")
def _trap(k: Kernel, ins: Instruction) -> Run:
    def run(g: Group) -> None:
        raise EmulationError(f"{ins.source}: trap")

    return run


@op("warp", "bar", "barrier")
def _barrier(k: Kernel, ins: Instruction) -> Run:
    if "warp" in ins.modifiers:
        return lambda g: g.tick()
    if "cluster" in ins.modifiers:
        return cluster_barrier(k, ins)
    if "sync" not in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    number = k.src(ins.operands[0], "u32")
    threads = k.src(ins.operands[1], "u32") if len(ins.operands) > 1 else None

    def run(g: Group) -> Array | int | None:
        numbers = uniform_value(g, ins, number)
        counts = np.full(len(g), LANES * k.num_warps)
        if threads is not None:
            counts = uniform_value(g, ins, threads)
        same = (numbers == numbers[0]) & (counts == counts[0])
        if not same.all():  # warps at different barriers
            return same
        return g.batch.arrive(g, int(numbers[0]), int(counts[0]))

    return run


def _order(g: Group) -> None:
    g.fence()
    g.release()


@op("memory", "fence", "membar")
def _fence(k: Kernel, ins: Instruction) -> Run:
    if "proxy" not in ins.modifiers or "tensormap::generic" in ins.modifiers:
        orders = is_fence(ins.base, ins.modifiers) and "cta" not in ins.modifiers
        return (lambda g: _order(g)) if orders else (lambda g: g.release())
    if "async" not in (m.split("::")[0] for m in ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    select = k.lanes(ins)

    def fence(g: Group) -> None:
        lanes = select(g)
        if len(lanes):
            g.fence_proxy(slice(None) if lanes is g.all else np.unique(g.lane_row[lanes]))

    return fence
