"""mbarriers count arrivals in shared memory, in phases that warps wait for."""

from __future__ import annotations

import numpy as np

from ..batch import RETRY, Batch
from ..clocks import Columns
from ..errors import EmulationError, UnsupportedError
from ..group import BLOCKED, READY, Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import LANES, Array

BYTES = 8  # of an mbarrier object


class MBarrier:
    """An MBarrier is the mbarriers of all CTAs of a batch at one address: arrays over CTAs."""

    def __init__(self, ctas: int, columns: Columns) -> None:
        self.alive = np.zeros(ctas, np.bool_)
        self.count, self.missing, self.phase = (np.zeros(ctas, np.int64) for _ in range(3))
        # clocks of the arrivals so far, and of those up to the last complete phase
        self.clock, self.past_clock = columns.zeros(ctas), columns.zeros(ctas)
        self.proxy, self.past_proxy = (np.zeros((ctas, columns.agents), np.int32) for _ in range(2))
        self.waiting: list[Group] = []

    def init(self, cta: int, count: int) -> None:
        self.alive[cta], self.phase[cta] = True, 0
        self.count[cta] = self.missing[cta] = count
        for clock in (self.clock, self.proxy, self.past_clock, self.past_proxy):
            clock[cta] = 0

    def arrive(self, cta: Array, clock: Array, proxy: Array) -> None:
        """Arrive once at each of some CTAs' barriers, with the clocks that the arrival carries."""
        self.clock[cta] = np.maximum(self.clock[cta], clock)
        self.proxy[cta] = np.maximum(self.proxy[cta], proxy)
        self.missing[cta] -= 1
        if (self.missing[cta] < 0).any():
            raise EmulationError("too many arrivals at an mbarrier")
        done = cta[self.missing[cta] == 0]
        if len(done):
            self.phase[done] += 1
            self.missing[done] = self.count[done]
            self.past_clock[done], self.past_proxy[done] = self.clock[done], self.proxy[done]
            for g in self.waiting:  # they look again
                g.state = READY
            self.waiting = []


def mbarrier_at(batch: Batch, ins: Instruction, address: int, cta: Array) -> MBarrier:
    """Return the mbarriers at a shared address, which all the CTAs given must have initialised."""
    barrier = batch.state.get("mbarriers", {}).get(address)
    if barrier is None or not barrier.alive[cta].all():
        raise EmulationError(f"{ins.source}: an mbarrier that is not initialised in {ins.text}")
    return barrier


def note_use(g: Group, ins: Instruction, address: int, lanes: Array) -> None:
    """Note a use: a race unless the barrier's initialisation is ordered before it."""
    shared, rows = g.batch.shared, g.lane_row[lanes]
    off = address - shared.base + g.cta[rows] * shared.stride
    shared.read(g, ins, shared.granules(off, BYTES), rows, lanes % LANES)


def shared_value(g: Group, ins: Instruction, values: Array) -> int:
    """Return what all lanes of all warps agree on."""
    if (values != values[0]).any():
        raise UnsupportedError(f"{ins.source}: warps or CTAs disagree on an operand of {ins.text}")
    return int(values[0])


@op("memory", "mbarrier")
def _mbarrier(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if what == "try_wait" and "parity" in ins.modifiers:
        return _try_wait(k, ins)
    if what not in ("init", "inval", "arrive") or "expect_tx" in ins.modifiers:
        raise UnsupportedError(f"instruction {ins.text}")
    at, select = k.address(ins.operands[what == "arrive"], "shared"), k.lanes(ins)
    count = k.src(ins.operands[1], "u32") if what == "init" else None
    k.widths["shared"].add(BYTES)

    def change(g: Group) -> None:
        lanes, batch = select(g), g.batch
        if not len(lanes):
            return
        address, cta = shared_value(g, ins, at(g, lanes)), g.lane_cta[lanes]
        if what != "arrive":
            off, fine = batch.shared.locate(g, ins, at(g, lanes), BYTES, lanes)
            granules = batch.shared.granules(off, BYTES)
            batch.shared.write(g, ins, granules, g.lane_row[fine], fine % LANES)
        if what == "init":
            barriers = batch.state.setdefault("mbarriers", {})
            if address not in barriers:
                barriers[address] = MBarrier(len(batch.places), g.launch.columns)
            assert count is not None
            counts = g.value(count).reshape(-1)[lanes]
            for place, n in zip(cta.tolist(), counts.tolist(), strict=True):
                barriers[address].init(place, n)
        elif what == "inval":
            barrier = mbarrier_at(batch, ins, address, cta)
            if any(np.isin(u.cta, cta).any() for u in barrier.waiting):
                raise EmulationError(f"{ins.source}: mbarrier.inval while warps wait")
            barrier.alive[cta] = False
        else:
            note_use(g, ins, address, lanes)
            barrier, rows = mbarrier_at(batch, ins, address, cta), g.lane_row[lanes]
            for place, row in zip(cta, rows, strict=True):
                barrier.arrive(np.array([place]), g.clock[row], g.proxy[row])
            g.tick()

    return change


def _try_wait(k: Kernel, ins: Instruction) -> Run:
    at = k.address(ins.operands[1], "shared")
    parity, dst = k.src(ins.operands[2], "u32"), k.dst(ins, ins.operands[0])
    if ins.pred is not None:
        raise UnsupportedError(f"instruction {ins.text}")

    def wait(g: Group):
        address = shared_value(g, ins, at(g, g.all))
        note_use(g, ins, address, g.all[::LANES])
        barrier = mbarrier_at(g.batch, ins, address, g.cta)
        wanted = g.value(parity)[:, 0] & 1
        complete = (barrier.phase[g.cta] & 1) != wanted
        if complete.all():
            if g.launch.track:
                g.join(barrier.past_clock[g.cta], barrier.past_proxy[g.cta])
            g.regs[dst] = np.ones((1, 1), np.bool_)
            return None
        if complete.any():
            return complete
        barrier.waiting.append(g)
        g.state = BLOCKED
        return RETRY

    return wait
