"""tcgen05 is the tensor core that works on tensor memory (sm_100), dense operands.

The tensor core is an agent with a clock of its own: a product happens after what its issuing warp
did, and before whatever waits on the mbarrier that its commit arrives on. It runs when it arrives.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import Array
from .mbarrier import barrier_of, note_use, places
from .tensor_copies import copy
from .tensor_memory import alloc, move, tensor, wait
from .tensor_products import mma


@op("memory", "tcgen05")
def _tcgen05(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if "cta_group::2" in ins.modifiers and k.cluster < 2:
        raise UnsupportedError(f"pairs of CTAs without a cluster: {ins.text}")
    if what in ("dealloc", "relinquish_alloc_permit") or what.startswith("fence::"):
        return lambda g: None
    if what == "alloc":
        return alloc(k, ins)
    if what in ("ld", "st"):
        return move(k, ins, what)
    if what.startswith("wait::"):
        return partial(wait, what[6:])
    if what == "commit":
        return _commit(k, ins)
    if what == "mma":
        return mma(k, ins)
    if what == "cp":
        return copy(k, ins)
    raise UnsupportedError(f"instruction {ins.text}")


def _commit(k: Kernel, ins: Instruction) -> Run:
    """Build an arrival, when all before it is over, on a barrier here or in CTAs of a mask."""
    at = k.address(ins.operands[0], "shared")
    multicast = "multicast::cluster" in ins.modifiers
    mask = k.src(ins.operands[1], "u16") if multicast else None

    def commit(g: Group, lanes: Array) -> None:
        addresses = at(g, lanes)
        if mask is None:
            for address, some, cta in places(g, ins, addresses, lanes):
                note_use(g, ins, address, some, cta)
                _arrive_later(g, ins, address, g.lane_cta[some], g.lane_row[some], cta)
        else:
            for lane, address in zip(lanes.tolist(), addresses.tolist(), strict=True):
                cta, value = g.lane_cta[lane], g.of_lane(mask, lane)
                owners = [g.batch.owner(cta, a) for (a,) in g.batch.multicast(value, address)]
                targets = np.array([of for of, _ in owners])
                row = np.array([g.lane_row[lane]])
                _arrive_later(g, ins, owners[0][1], np.array([cta]), row, targets)
        g.tick()

    return k.on_lanes(ins, commit)


def _arrive_later(
    g: Group, ins: Instruction, address: int, cta: Array, rows: Array, targets: Array
) -> None:
    """Let the tensor cores of `cta` execute what is open, and then arrive at targets' barriers."""
    state = tensor(g.batch)
    mine = [(of[np.isin(of, cta)], execute) for of, execute in state.open]
    rest = [(of[~np.isin(of, cta)], execute) for of, execute in state.open]
    state.open = [entry for entry in rest if len(entry[0])]
    state.cores.join(g.clock[rows], g.proxy[rows], cta)
    clock, proxy = (np.broadcast_to(x[cta], (len(targets), x.shape[1])).copy()
                    for x in (state.cores.clock, state.cores.proxy))  # fmt: skip
    arrive = barrier_of(g.batch, ins, address, targets).later(targets, clock, proxy)

    def complete() -> None:
        for of, execute in mine:
            if len(of):
                execute(of)
        arrive()

    g.batch.pending.append(complete)
