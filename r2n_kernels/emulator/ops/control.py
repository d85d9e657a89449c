"""This file builds branches, barriers of a CTA, fences and the end."""

from __future__ import annotations

import numpy as np

from ..batch import STOP, YIELD
from ..clocks import is_fence
from ..errors import EmulationError, UnsupportedError
from ..group import DONE, Group
from ..kernel import Kernel, Run, op, uniform
from ..parse import Instruction
from ..together import uniform_value, warp_rows
from ..types import LANES, Array
from ..waiting import Poll, polls, who
from .cluster import cluster_barrier


@op("memory", "bra")
def _branch(k: Kernel, ins: Instruction) -> Run:
    target = k.program.target(ins, ins.operands[0])
    polled = polls(k, ins, target)
    jump: Run = (lambda g: _poll(g, target, polled)) if polled else (lambda g: target)
    if ins.pred is None:
        return jump
    return uniform(jump, k.predicate(ins))


def _poll(g: Group, target: int, polled: list[Poll]) -> int:
    """Go round a loop that may wait for another program: others have a turn."""
    g.pc, g.polling = target, polled
    g.turns += 1
    return YIELD


@op("memory", "brx")
def _table_branch(k: Kernel, ins: Instruction) -> Run:
    targets, index = k.program.targets(ins, ins.operands[1]), k.src(ins.operands[0], "u32")
    if ins.pred is not None or "idx" not in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")

    def run(g: Group):
        value = g.value(index)
        first = int(value.reshape(-1)[g.leaders[0]])
        rows = warp_rows(g, value == first)
        if rows is not True:
            return rows
        if first >= len(targets):
            raise EmulationError(f"{ins.source}: branch number {first} of {len(targets)}")
        return targets[first]

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
        raise EmulationError(f"{ins.source}: {who(g.batch, g)} stopped at a trap")

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
    """Pass a fence that other CTAs may learn of."""
    g.fence()
    g.release()


@op("memory", "fence", "membar")
def _fence(k: Kernel, ins: Instruction) -> Run:
    if "proxy" not in ins.modifiers or "tensormap::generic" in ins.modifiers:
        return _order if is_fence(ins.base, ins.modifiers) else (lambda g: g.release())
    if "async" not in (m.split("::")[0] for m in ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")

    def fence(g: Group, lanes: Array) -> None:
        g.fence_proxy(slice(None) if lanes is g.all else np.unique(g.lane_row[lanes]))

    return k.on_lanes(ins, fence)
