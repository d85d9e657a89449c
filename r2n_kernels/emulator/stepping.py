"""This file is the instruction loop: one for groups of whole warps, one for those with parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .batch import RETRY, STOP
from .errors import UnsupportedError

if TYPE_CHECKING:
    from .group import Group
    from .launch import Launch

QUANTUM = 1 << 15  # instructions until other groups have their turn


def run_whole(launch: Launch, g: Group) -> int:
    """Run whole warps until they block, end, poll, part or are preempted; return how many steps."""
    kernel, steps, rng, preempt, pc = launch.kernel, launch.steps, launch.rng, launch.preempt, g.pc
    code, instructions, is_memory = kernel.code, kernel.program.instructions, kernel.is_memory
    for n in range(1, QUANTUM):
        if g.inflight:
            g.settle(instructions[pc])
        g.pc = pc
        answer = code[pc](g)
        if answer is None:
            steps[pc] += len(g)
            pc += 1
            if preempt and is_memory[pc - 1] and rng.random() < preempt:
                g.pc = pc
                return n
        elif isinstance(answer, np.ndarray):
            if answer.ndim == 2:  # lanes disagree: each part runs it again
                g.batch.parts.diverge(g, answer)
                return n
            g.batch.split(g, answer)  # warps disagree: each group runs it again
        elif answer == RETRY:
            return n
        else:
            steps[pc] += len(g)
            if answer >= 0:
                pc = answer
                continue
            if answer == STOP:
                g.pc = pc + 1
            return n
    g.pc = pc
    g.turns += 1
    return QUANTUM


def run_parts(launch: Launch, g: Group) -> int:
    """Do the same for groups that lack lanes of a warp, or that others wait for."""
    kernel, steps, pc, parts = launch.kernel, launch.steps, g.pc, g.batch.parts
    code, instructions = kernel.code, kernel.program.instructions
    join = g.joins[-1] if g.joins else None
    for n in range(1, QUANTUM):
        g.pc = pc
        if join is not None:
            if pc == join.pc:
                parts.arrive(g)
                return n
            join.seen.add(pc)
        ins = instructions[pc]
        if g.inflight:
            g.settle(ins)
        if kernel.is_flight[pc] and parts.stashed(g):
            text = "where lanes of a warp parted with copies or products in flight"
            raise UnsupportedError(f"{ins.source}: {ins.text} {text}")
        together = kernel.together[pc]
        if together is not None:
            lacking = together(g)
            if lacking is not None and lacking.any() and not parts.meet(g, lacking):
                return n
        answer = code[pc](g)
        if answer is None:
            steps[pc] += len(g)
            pc += 1
            if launch.preempt and kernel.is_memory[pc - 1] and launch.rng.random() < launch.preempt:
                g.pc = pc
                return n
        elif isinstance(answer, np.ndarray):
            if answer.ndim == 2:
                parts.diverge(g, answer)
                return n
            g.batch.split(g, answer)
        elif answer == RETRY:
            return n
        else:
            steps[pc] += len(g)
            if answer >= 0:
                pc = answer
                continue
            if answer == STOP:
                g.pc = pc + 1
            else:
                g.polls += 1
                if join is not None and g.polls > join.patience:
                    g.polls = 0
                    parts.release_those_behind(g)
            return n
    g.pc = pc
    g.turns += 1
    parts.release_those_behind(g)
    return QUANTUM
