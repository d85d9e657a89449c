"""Cluster launch control lets a cluster take over the work of one that has not begun (sm_100).

The answer, 16 bytes that only the queries here look into, is whether there was one and its place.
"""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run, op
from ..memory import WINDOW
from ..parse import Instruction, vector
from ..types import LANES, Array
from .build import assign
from .mbarrier import barrier_of
from .transfers import engine_of

BYTES = 16


@op("memory", "clusterlaunchcontrol")
def _launch_control(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if what == "try_cancel" and len(ins.operands) == 2:
        return _try_cancel(k, ins)
    if what == "query_cancel" and ins.pred is None:
        return _query(k, ins)
    raise UnsupportedError(f"instruction {ins.text}")


def _try_cancel(k: Kernel, ins: Instruction) -> Run:
    at, barrier_at = (k.address(x, "shared") for x in ins.operands)
    select, everybody = k.lanes(ins), "multicast::cluster::all" in ins.modifiers
    k.widths["shared"].add(BYTES)

    def issue(g: Group) -> None:
        for lane in select(g).tolist():
            one, row = np.array([lane]), lane // LANES
            address, barrier = int(at(g, one)[0]), int(barrier_at(g, one)[0])
            targets = [(address, barrier)]
            if everybody:
                targets = [(rank * WINDOW + address % WINDOW, rank * WINDOW + barrier % WINDOW)
                           for rank in range(k.cluster)]  # fmt: skip
            answer = np.array(g.launch.cancel(), np.uint32)
            for target in targets:
                _answer(g, ins, row, answer, *target)
        g.tick()

    return issue


def _answer(
    g: Group, ins: Instruction, row: int, answer: Array, address: int, barrier: int
) -> None:
    batch, shared = g.batch, g.batch.shared
    of, local = batch.owner(int(g.cta[row]), barrier)
    owner, place = batch.owner(int(g.cta[row]), address)
    engine, cta = engine_of(batch, local), np.array([of])
    engine.join(g.clock[row], g.proxy[row], cta)
    engine.show_own()
    off = np.array([place - shared.base + owner * shared.stride])
    if g.launch.track:
        shared.write(engine, ins, shared.granules(off, BYTES), cta, np.zeros_like(cta))
    arrive = barrier_of(batch, ins, local, cta).later(
        cta, engine.clock[cta], engine.proxy[cta], BYTES
    )

    def complete() -> None:
        shared.rows(4, BYTES // 4)[off // BYTES] = answer
        arrive()

    batch.pending.append(complete)


def _query(k: Kernel, ins: Instruction) -> Run:
    """Build is_canceled, and get_first_ctaid of all axes or of one."""
    names = ("is_canceled", *(f"get_first_ctaid::{axis}" for axis in "xyz"))
    single = next((i for i, name in enumerate(names) if name in ins.modifiers), None)
    if single is None and "get_first_ctaid" not in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")

    def read(raw: Array) -> list[Array]:
        words = np.ascontiguousarray(raw)[..., None].view(np.uint32)
        if single is None:
            return [words[..., i] for i in (1, 2, 3, 0)][: len(vector(ins.operands[0]))]
        return [words[..., 0] > 0 if single == 0 else words[..., single]]

    return assign(k, ins, [ins.operands[1]], ["b128"], read)
