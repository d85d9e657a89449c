"""mbarriers count arrivals and bytes in shared memory, in phases that warps wait for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..batch import RETRY, Batch
from ..clocks import Columns
from ..errors import EmulationError, UnsupportedError
from ..group import BLOCKED, READY, Group
from ..kernel import Kernel, Run, op
from ..parse import Instruction
from ..types import LANES, Array

BYTES = 8  # of an mbarrier object


class Phases:
    """Phases are those of barriers, arrays over CTAs or clusters, and warps wait for them."""

    def __init__(self, n: int, columns: Columns) -> None:
        self.phase = np.zeros(n, np.int64)  # those completed
        # clocks of the arrivals so far, and of those up to the last complete phase
        self.clock, self.past_clock = columns.zeros(n), columns.zeros(n)
        self.proxy, self.past_proxy = (np.zeros((n, columns.agents), np.int32) for _ in range(2))
        self.waiting: list[Group] = []

    def complete(self, done: Array) -> None:
        """Complete the phase of the barriers at these places, and let warps look again."""
        self.phase[done] += 1
        self.past_clock[done], self.past_proxy[done] = self.clock[done], self.proxy[done]
        for g in self.waiting:
            g.state = READY
        self.waiting = []

    def wait(self, g: Group, over: Array, of: Array) -> Array | int | None:
        """Return what a wait answers, by where the phase of each row's barrier, `of`, is over."""
        if over.all():
            if g.launch.track:
                g.join(self.past_clock[of], self.past_proxy[of])
            return None
        if over.any():
            return over
        self.waiting.append(g)
        g.state = BLOCKED
        return RETRY


class MBarrier(Phases):
    """An MBarrier is the mbarriers of all CTAs of a batch at one address: arrays over CTAs."""

    def __init__(self, ctas: int, columns: Columns) -> None:
        super().__init__(ctas, columns)
        self.alive = np.zeros(ctas, np.bool_)
        self.lives = np.zeros(ctas, np.int64)  # initialisations so far
        # arrivals per phase, arrivals and bytes that the phase lacks
        self.count, self.missing, self.bytes = (np.zeros(ctas, np.int64) for _ in range(3))

    def init(self, cta: int, count: int) -> None:
        self.alive[cta], self.phase[cta], self.bytes[cta] = True, 0, 0
        self.lives[cta] += 1
        self.count[cta] = self.missing[cta] = count
        for clock in (self.clock, self.proxy, self.past_clock, self.past_proxy):
            clock[cta] = 0

    def arrive(self, cta: Array, clock: Array, proxy: Array, n: int = 1) -> None:
        """Arrive at each of some CTAs' barriers, with the clocks that the arrival carries."""
        self._note(cta, clock, proxy)
        self.missing[cta] -= n
        if (self.missing[cta] < 0).any():
            raise EmulationError("too many arrivals at an mbarrier")
        self._advance(cta)

    def later(self, cta: Array, clock: Array, proxy: Array, nbytes: int | None = None):
        """Return what arrives, or counts bytes, once an asynchronous operation is over.

        A barrier that was invalidated meanwhile is left alone.
        """
        lives = self.lives[cta].copy()

        def complete() -> None:
            here = self.alive[cta] & (self.lives[cta] == lives)
            some = cta[here]
            if nbytes is None:
                self.arrive(some, clock[here], proxy[here])
            else:
                self._note(some, clock[here], proxy[here])
                self.bytes[some] -= nbytes
                self._advance(some)

        return complete

    def _note(self, cta: Array, clock: Array, proxy: Array) -> None:
        self.clock[cta] = np.maximum(self.clock[cta], clock)
        self.proxy[cta] = np.maximum(self.proxy[cta], proxy)

    def _advance(self, cta: Array) -> None:
        done = cta[(self.missing[cta] == 0) & (self.bytes[cta] == 0)]
        if len(done):
            self.missing[done] = self.count[done]
            self.complete(done)


def barrier_of(batch: Batch, ins: Instruction, address: int, cta: Array | int) -> MBarrier:
    """Return the mbarriers at a shared address, which all the CTAs given must have initialised."""
    barrier = batch.state.get("mbarriers", {}).get(address)
    if barrier is None or not barrier.alive[cta].all():
        raise EmulationError(f"{ins.source}: an mbarrier that is not initialised in {ins.text}")
    return barrier


def places(g: Group, ins: Instruction, address: Array, lanes: Array) -> Iterator[tuple]:
    """Yield (address in its CTA, lanes, CTA of each) for each address that lanes give."""
    shared = g.batch.shared
    off, lanes = shared.locate(g, ins, address, BYTES, lanes)
    cta, local = off // shared.stride, off % shared.stride + shared.base
    if len(local) and (local == local[0]).all():
        yield int(local[0]), lanes, cta
        return
    for one in np.unique(local):
        yield int(one), lanes[local == one], cta[local == one]


def note_use(g: Group, ins: Instruction, address: int, lanes: Array, cta: Array) -> None:
    """Note a use: a race unless the barrier's initialisation is ordered before it."""
    shared, rows = g.batch.shared, g.lane_row[lanes]
    off = address - shared.base + cta * shared.stride
    shared.read(g, ins, shared.granules(off, BYTES), rows, lanes % LANES)


def disagreeing(g: Group, lanes: Array, *values: Array) -> Array | None:
    """Return the rows to go first where lanes give different values, None where they agree."""
    first = np.ones(len(lanes), np.bool_)
    for one in values:
        first &= one == one[0]
    if first.all():
        return None
    keep = np.ones(len(g), np.bool_)
    keep[g.lane_row[lanes[~first]]] = False
    return keep


def shared_value(g: Group, ins: Instruction, values: Array) -> int:
    """Return what all lanes of all warps agree on."""
    if (values != values[0]).any():
        raise UnsupportedError(f"{ins.source}: warps or CTAs disagree on an operand of {ins.text}")
    return int(values[0])


@op("memory", "mbarrier")
def _mbarrier(k: Kernel, ins: Instruction) -> Run:
    what = ins.modifiers[0]
    if what in ("init", "inval"):
        return _lifetime(k, ins)
    if what in ("try_wait", "test_wait"):
        return _wait(k, ins)
    if what in ("arrive", "expect_tx", "complete_tx") and "noComplete" not in ins.modifiers:
        return _arrive(k, ins)
    raise UnsupportedError(f"instruction {ins.text}")


def _lifetime(k: Kernel, ins: Instruction) -> Run:
    """Build init and inval."""
    at, what = k.address(ins.operands[0], "shared"), ins.modifiers[0]
    count = k.src(ins.operands[1], "u32") if what == "init" else None
    k.widths["shared"].add(BYTES)

    def change(g: Group, lanes: Array) -> None:
        batch = g.batch
        for address, some, cta in places(g, ins, at(g, lanes), lanes):
            off = address - batch.shared.base + cta * batch.shared.stride
            granules = batch.shared.granules(off, BYTES)
            batch.shared.write(g, ins, granules, g.lane_row[some], some % LANES)
            if count is not None:
                barriers = batch.state.setdefault("mbarriers", {})
                if address not in barriers:
                    barriers[address] = MBarrier(len(batch.places), g.launch.columns)
                counts = g.value(count).reshape(-1)[some]
                for place, n in zip(cta.tolist(), counts.tolist(), strict=True):
                    barriers[address].init(place, n)
                continue
            barrier = barrier_of(batch, ins, address, cta)
            if any(np.isin(u.cta, cta).any() for u in barrier.waiting):
                raise EmulationError(f"{ins.source}: mbarrier.inval while warps wait")
            barrier.alive[cta] = False

    return k.on_lanes(ins, change)


def _arrive(k: Kernel, ins: Instruction) -> Run:
    """Build arrivals, and what counts bytes."""
    arrives, operands = ins.modifiers[0] == "arrive", list(ins.operands)
    state = k.dst_or_sink(ins, operands.pop(0)) if arrives and len(operands) > 1 else None
    at = k.address(operands[0], "shared")
    number = k.src(operands[1], "u32") if len(operands) > 1 else None
    counts_bytes = not arrives or "expect_tx" in ins.modifiers
    sign = -1 if ins.modifiers[0] == "complete_tx" else 1
    k.widths["shared"].add(BYTES)

    def arrive(g: Group, lanes: Array) -> None:
        for address, some, cta in places(g, ins, at(g, lanes), lanes):
            note_use(g, ins, address, some, cta)
            barrier, rows = barrier_of(g.batch, ins, address, cta), g.lane_row[some]
            n = np.ones(len(some), np.int64)
            if number is not None:
                n = g.value(number).reshape(-1)[some].astype(np.int64)
            if state is not None:
                g.merge(state, (barrier.phase[cta] & 1).astype(np.uint64), some)
            for place, row, x in zip(cta, rows, n.tolist(), strict=True):
                if counts_bytes:
                    barrier.bytes[place] += sign * x
                if arrives:
                    one = 1 if counts_bytes else x
                    barrier.arrive(np.array([place]), g.clock[row], g.proxy[row], one)
        g.tick()

    return k.on_lanes(ins, arrive)


def _wait(k: Kernel, ins: Instruction) -> Run:
    """Build waits for a phase, given by its parity or by what an arrival returned.

    All of them suspend the warp until the phase is complete, as try_wait may and loops do.
    """
    at = k.address(ins.operands[1], "shared")
    parity = k.src(ins.operands[2], "u32" if "parity" in ins.modifiers else "u64")
    dst = k.dst(ins, ins.operands[0])
    if ins.pred is not None:
        raise UnsupportedError(f"instruction {ins.text}")

    def wait(g: Group):
        lanes = g.leaders
        addresses = at(g, lanes)
        if len(addresses) > 1 and (addresses != addresses[0]).any():
            return addresses == addresses[0]
        for address, some, cta in places(g, ins, addresses, lanes):
            note_use(g, ins, address, some, cta)
            barrier = barrier_of(g.batch, ins, address, cta)
            wanted = g.value(parity).reshape(-1)[lanes].astype(np.int64) & 1
            answer = barrier.wait(g, (barrier.phase[cta] & 1) != wanted, cta)
            if answer is None:
                g.regs[dst] = np.ones((1, 1), np.bool_)
            return answer
        return RETRY

    return wait
