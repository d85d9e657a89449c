"""This file builds moves between registers of any width, the time, and hints."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import GLOBAL_BASE
from ..parse import Instruction, vector
from ..types import UINT, Array, join_bits, split_bits, type_bits
from .access import SPACES
from .build import assign

CLOCKS = {
    "%clock": 0, "%clock64": 0, "%clock_hi": 32, "%globaltimer": 0, "%globaltimer_lo": 0,
    "%globaltimer_hi": 32,
}  # fmt: skip


@op("alu", "mov", "cvta")
def _move(k: Kernel, ins: Instruction) -> Run:
    if ins.base == "cvta" and not set(SPACES) & set(ins.modifiers):
        raise UnsupportedError(f"instruction {ins.text}")
    t, (to, source) = ins.types[-1] if ins.types else "pred", ins.operands
    if source in CLOCKS:
        return _clock(k, ins, t)
    bits, pieces, parts = type_bits(t), vector(source), len(vector(to))
    if to.startswith("{"):
        part = UINT[bits // parts]
        return assign(k, ins, [source], [t], lambda a: [*np.moveaxis(split_bits(a, part), -1, 0)])
    if source.startswith("{"):
        types = [f"b{bits // len(pieces)}"] * len(pieces)

        def join(*a: Array) -> list[Array]:
            return [join_bits(np.stack(np.broadcast_arrays(*a), axis=-1), UINT[bits])]

        return assign(k, ins, pieces, types, join)
    if ins.base == "cvta" and "param" in ins.modifiers:  # Triton 3.9 keeps 32 bits of the address
        return assign(k, ins, [source], [t], lambda a: [a | np.uint64(GLOBAL_BASE)])
    # generic addresses are those of their spaces
    return assign(k, ins, [source], [t], lambda a: [a])


def _clock(k: Kernel, ins: Instruction, t: str) -> Run:
    """Read the time: how many instructions of warps this launch has executed."""
    d, shift, mask = k.dst(ins, ins.operands[0]), CLOCKS[ins.operands[1]], (1 << type_bits(t)) - 1

    def run(g: Group) -> None:
        g.regs[d] = np.full((1, 1), sum(g.launch.steps) >> shift & mask, UINT[type_bits(t)])

    return run


@op("alu", "prefetch", "prefetchu", "discard", "applypriority", "nanosleep", "pmevent")
def _hint(k: Kernel, ins: Instruction) -> Run:
    """Hints have no effect but to be counted."""
    return lambda g: None


@op("alu", "createpolicy")
def _cache_policy(k: Kernel, ins: Instruction) -> Run:
    return assign(k, ins, ["0"], ["b64"], lambda a: [a])
