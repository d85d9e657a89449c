"""st.async writes registers into shared memory of the cluster, and counts bytes on an mbarrier."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..group import Group
from ..kernel import Kernel, Run
from ..parse import Instruction, vector
from ..types import UINT, Array, type_bits
from .mbarrier import barrier_of, places
from .transfers import engine_of


def async_store(k: Kernel, ins: Instruction) -> Run:
    names, t = vector(ins.operands[1]), ins.types[-1]
    if "mbarrier::complete_tx::bytes" not in ins.modifiers or len(ins.operands) != 3:
        raise UnsupportedError(f"instruction {ins.text}")
    raw, elem, n = UINT[type_bits(t)], type_bits(t) // 8, len(names)
    at, barrier_at = (k.address(ins.operands[i], "shared") for i in (0, 2))
    sources = [k.src(x, t) for x in names]
    k.widths["shared"].add(elem * n)

    def issue(g: Group, lanes: Array) -> None:
        batch, shared = g.batch, g.batch.shared
        addresses = at(g, lanes)
        values: Array = np.empty((len(lanes), n), raw)
        for i, source in enumerate(sources):
            values[:, i] = g.value(source).reshape(-1)[lanes]
        for barrier, some, cta in places(g, ins, barrier_at(g, lanes), lanes):
            engine = engine_of(batch, barrier)
            for of in np.unique(cta):
                mine = np.isin(lanes, some[cta == of])
                off, fine = shared.locate(g, ins, addresses[mine], elem * n, lanes[mine])
                rows, one = np.unique(g.lane_row[fine]), np.array([of])
                engine.join(g.clock[rows].max(0), g.proxy[rows].max(0), one)
                engine.show_own()
                if g.launch.track:
                    granules = shared.granules(off, elem * n)
                    target = np.full(len(off), of)
                    shared.write(engine, ins, granules, target, np.zeros_like(target))
                kept = values[np.isin(lanes, fine)]
                arrive = barrier_of(batch, ins, barrier, one).later(
                    one, engine.clock[one], engine.proxy[one], kept.nbytes
                )

                def complete(off: Array = off, kept: Array = kept, arrive=arrive) -> None:
                    shared.rows(elem, n)[off // (elem * n)] = kept
                    arrive()

                batch.pending.append(complete)
        g.tick()

    return k.on_lanes(ins, issue)
