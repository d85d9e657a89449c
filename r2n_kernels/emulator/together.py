"""This file says what lanes of a warp agree on, and which instructions need them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .errors import EmulationError
from .group import Group
from .parse import Instruction
from .types import LANES, Array, full

if TYPE_CHECKING:
    from .kernel import Kernel

ALONE = ("ret", "exit", "trap", "fence", "membar", "activemask")  # lanes may be alone there
MEMBERS = ("shfl", "vote", "redux", "elect", "match")  # the last operand says which lanes
TENSOR_MOVES = ("ld", "st", "alloc", "dealloc", "wait::ld", "wait::st")


def is_flight(ins: Instruction) -> bool:
    """Return whether an instruction starts, counts or awaits what is in flight for whole warps."""
    if ins.base == "tcgen05":
        return ins.modifiers[0] in TENSOR_MOVES
    return ins.base == "wgmma" or (ins.base == "cp" and "bulk" not in ins.modifiers)


def lacking_lanes(k: Kernel, ins: Instruction, kind: str) -> Callable[[Group], Array | None] | None:
    """Return a function from a group to which of its warps lack lanes for `ins`, where any may."""
    whole = ins.base == "tcgen05" and ins.modifiers[0] in TENSOR_MOVES
    if ins.base in ALONE or not (kind == "warp" or whole):
        return None
    predicate = k.predicate(ins) if ins.pred is not None else None
    barrier = ins.base in ("bar", "barrier")
    members = None
    if (ins.base in MEMBERS and "sync" in ins.modifiers) or (barrier and "warp" in ins.modifiers):
        members = k.src(ins.operands[-1], "b32")
    everyone = np.ones((1, LANES), np.bool_)

    def lacking(g: Group) -> Array | None:
        if predicate is not None and warp_rows(g, predicate(g)) is not True:
            return None
        needed = everyone
        if members is not None:
            bits = uniform_value(g, ins, members).astype(np.uint32)
            needed = (bits[:, None] >> np.arange(LANES, dtype=np.uint32) & 1).astype(np.bool_)
        return g.batch.parts.lacking(g, needed, ended=barrier or members is not None)

    return lacking


def warp_rows(g: Group, mask: Array) -> bool | Array:
    """Return what the lanes of each warp agree on: True or False if all warps do, else [warps].

    Where lanes of a warp disagree it is all lanes, [warps, 32].
    """
    if g.mask is None:
        some, every = mask.any(axis=1), mask.all(axis=1)
    else:
        some, every = (mask & g.mask).any(axis=1), (mask | ~g.mask).all(axis=1)
    if (some != every).any():
        return full(mask, len(g))
    if every.all():
        return True
    return np.asarray(every) if some.any() else False


def uniform_value(g: Group, ins: Instruction, slot: int) -> Array:
    """Return the value that the lanes of each warp share: [warps]."""
    value = g.regs[slot]
    if value.shape[1] != 1:
        first = full(value, len(g)).reshape(-1)[g.leaders][:, None]
        differs = value != first
        if differs.any() and (g.mask is None or (differs & g.mask).any()):
            raise EmulationError(f"{ins.source}: an operand differs between lanes in {ins.text}")
        value = first
    return full(value, len(g))[:, 0]
