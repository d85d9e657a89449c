"""Races are found by happens-before, from the order that the code enforces, whatever order was run.

Every granule of memory (the greatest common width of accesses) keeps its last writer and, per
warp, its last reader, stamped with that warp's clock; barriers join the warps' vector clocks. What
is in flight is stamped PENDING until it is waited for. Lanes of one warp need a warp-level barrier
between write and read. CTAs of a launch are concurrent: two never meet where one writes.

Not checked: write after read between lanes of one warp, and races of atomics among themselves. A
conflict of two writes counts only where the values differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .types import LANES, Array

if TYPE_CHECKING:
    from .memory import Memory
    from .parse import Instruction

PENDING = 1 << 30  # clocks from here on: of asynchronous accesses that nobody has waited for
SEVERAL = -1  # blocks


class Agents:
    """Agents are warps, or tensor cores, with their vector clocks: one row each.

    clock [rows, agents of a cluster]: accesses of agent u up to clock[u] happened before; those up
    to proxy[u] are visible to the async proxy too. warp: number in the CTA; agent: in the cluster;
    cta: place in the batch; block: 1 + that in grid.
    """

    def __init__(
        self, warp: Array, cta: Array, block: Array, clock: Array, proxy: Array, agent: Array
    ) -> None:
        self.warp, self.cta, self.block, self.clock, self.proxy = warp, cta, block, clock, proxy
        self.agent = agent
        self._refresh()

    def _refresh(self) -> None:
        rows = np.arange(len(self.agent))
        self.own = self.clock[rows, self.agent]
        self.before = self.clock.copy()  # writes up to here are visible to other lanes
        self.before[rows, self.agent] -= 1
        self.seen, self.read = self.before.min(), self.clock.min()  # by all rows, of all agents

    def tick(self) -> None:
        """Begin an interval: what was done so far is ordered before what these rows do next."""
        self.clock[np.arange(len(self.agent)), self.agent] += 1
        self._refresh()

    def join(self, clock: Array, proxy: Array, rows: Array | slice = slice(None)) -> None:
        """Order all up to these clocks, [rows, agents], before what the rows do next."""
        self.clock[rows] = np.maximum(self.clock[rows], clock)
        self.proxy[rows] = np.maximum(self.proxy[rows], proxy)
        self.tick()

    def show_own(self) -> None:
        """Make these agents' own accesses visible to the asynchronous proxy, which they are of."""
        rows = np.arange(len(self.agent))
        self.proxy[rows, self.agent] = self.clock[rows, self.agent]

    def fence_proxy(self, rows: Array | slice = slice(None)) -> None:
        """Make what happened before visible to the asynchronous proxy too."""
        self.proxy[rows] = self.clock[rows]
        self.tick()


class Shadow:
    """A Shadow is the history of every granule of a memory.

    Granules are given as [n, k], k per access, with the row of `who` and the lane of each access.
    """

    def __init__(self, memory: Memory, agents: int, *, many: bool, written: bool) -> None:
        """`many`: CTAs share this memory. `written`: it holds the arguments from the start."""
        n = len(memory.data) >> memory.shift
        self.memory, self.written = memory, written
        self.wclock = np.zeros(n, np.int32)  # clock of the last write, ...
        self.wthread = np.zeros(n, np.int32)  # ... its thread in the CTA, ...
        self.windex = np.zeros(n, np.int32)  # ... 1 + its instruction, ...
        self.wblock = np.zeros(n, np.int32) if many else None  # ... and its block
        self.rclock = np.zeros((n, agents), np.int32)  # of the last read, by warp ...
        self._rclock = self.rclock.reshape(-1)  # the same, as indexing by places is faster
        self.rblock = np.zeros(n, np.int32) if many else None  # ... of this block, or SEVERAL
        self._stamp = PENDING

    def new_stamp(self) -> int:
        """Return a stamp for reads in flight, so that others of the same bytes are told apart."""
        self._stamp += 1
        return self._stamp

    def read(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array,
        *, pending: int = 0, proxy: bool = False,
    ) -> None:  # fmt: skip
        """Check and note reads. pending: a new stamp, for reads in flight."""
        wclock = self.wclock.take(at)
        late = self._unordered_writes(who, at, rows, lane, wclock)
        if late is not None:
            self._race(who, ins, at, rows, lane, late, "read of a write not ordered before it")
        if not self.written:
            never = wclock == 0
            if never.any():
                text = "read of memory that nobody wrote"
                self._race(who, ins, at, rows, lane, never, text, "uninitialised")
        if proxy:
            unseen = wclock > who.proxy[rows[:, None], self.wthread[at] // LANES]
            if unseen.any():
                text = "async-proxy read of a generic write without fence.proxy.async"
                self._race(who, ins, at, rows, lane, unseen, text, "proxy")
        place = at * self.rclock.shape[1] + who.agent[rows][:, None]
        stamp = pending or who.own[rows][:, None]
        if (
            self._stamp > PENDING and not pending
        ):  # another may be in flight, and must not be hidden
            stamp = np.maximum(self._rclock.take(place), stamp)
        self._rclock[place] = stamp
        if self.wblock is not None and self.rblock is not None:
            mine = who.block[rows][:, None]
            self._meet(who, ins, at, rows, lane, self.wblock, "read", "written")
            old = self.rblock.take(at)
            if (old != SEVERAL).any():
                self.rblock[at] = np.where((old == 0) | (old == mine), mine, SEVERAL)
                lost = self.rblock[at] != mine  # blocks side by side in this very instruction
                self.rblock[at[lost]] = SEVERAL

    def write(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array,
        *, differs: Callable[[], Array] | None = None, pending: bool = False,
    ) -> None:  # fmt: skip
        """Check and note writes. differs(): which accesses change memory; without it all do."""
        wclock = self.wclock.take(at)
        late = self._unordered_writes(who, at, rows, lane, wclock)
        if late is not None and differs is not None:
            late &= differs()[:, None] | (wclock >= PENDING)
        if late is not None and late.any():
            self._race(who, ins, at, rows, lane, late, "write over a write not ordered before it")
        rclock = self.rclock.take(at, axis=0)  # [n, k, agents]
        if rclock.size and rclock.max() > who.read:
            self._check_reads(who, ins, at, rows, lane, rclock)
        if self.wblock is not None and self.rblock is not None:
            self._meet(who, ins, at, rows, lane, self.wblock, "write", "written")
            self._meet(who, ins, at, rows, lane, self.rblock, "write", "read")
            self.wblock[at] = who.block[rows][:, None]
            self._meet(who, ins, at, rows, lane, self.wblock, "write", "written")
        self.wclock[at] = PENDING if pending else who.own[rows][:, None]
        self.wthread[at] = (who.agent[rows] * LANES + lane)[:, None]
        self.windex[at] = ins.index + 1

    def _check_reads(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, rclock: Array
    ) -> None:
        early = rclock > who.clock[rows][:, None, :]
        if self.rblock is not None:
            early &= (self.rblock[at] == who.block[rows][:, None])[..., None]
        if early.any():
            warps = np.flatnonzero(early.any((0, 1))).tolist()
            text = f"write over a read not ordered before it (of warps {warps})"
            self._race(who, ins, at, rows, lane, early.any(2), text)

    def retire_reads(self, who: Agents, at: Array, rows: Array, stamp: int) -> None:
        """Complete asynchronous reads; later ones of the same bytes may still be in flight."""
        place = at * self.rclock.shape[1] + who.agent[rows][:, None]
        old = self._rclock.take(place)
        self._rclock[place] = np.where(old == stamp, who.own[rows][:, None], old)

    def retire_writes(self, who: Agents, at: Array, rows: Array) -> None:
        self.wclock[at] = who.own[rows][:, None]

    def _unordered_writes(
        self, who: Agents, at: Array, rows: Array, lane: Array, wclock: Array
    ) -> Array | None:
        """Return where the last write is not ordered before this access, None if nowhere."""
        if not wclock.size or wclock.max() <= who.seen:
            return None
        wthread = self.wthread.take(at)
        late = wclock > who.before[rows[:, None], wthread // LANES]
        if late.any():
            mine = (who.agent[rows] * LANES + lane)[:, None]
            late &= (wthread != mine) | (wclock >= PENDING)
            if self.wblock is not None:
                late &= self.wblock[at] == who.block[rows][:, None]
        return late if late.any() else None

    def _race(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, bad: Array,
        text: str, kind: str = "race",
    ) -> None:  # fmt: skip
        i, j = np.argwhere(bad)[0]
        place = at[i, j]
        writer = "never written"
        if self.windex[place]:
            agent, thread = divmod(int(self.wthread[place]), LANES)
            kernel = self.memory.launch.kernel
            last = kernel.program.instructions[self.windex[place] - 1]
            rank, warp = divmod(agent, kernel.agents)
            agent = f"warp {warp} lane {thread}" if warp < kernel.num_warps else "the tensor core"
            agent = "TMA" if warp >= kernel.num_warps and last.base == "cp" else agent
            agent += f" of CTA {rank} of the cluster" if kernel.cluster > 1 else ""
            writer = f"last written by {agent} in {last.source} ({last.text[:60]})"
        if self.wclock[place] >= PENDING:
            writer += ", still in flight"
        where = self.memory.describe(int(place) << self.memory.shift)
        self.memory.launch.report(
            kind, who, ins, rows[i], lane[i], f"{text}: {where}, {writer}, {bad.sum()} granules"
        )

    def _meet(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, blocks: Array,
        mine: str, theirs: str,
    ) -> None:  # fmt: skip
        """Report what another CTA of the launch accesses too, in whatever order."""
        other = blocks.take(at)
        bad = (other != 0) & (other != who.block[rows][:, None])
        if bad.any():
            i, j = np.argwhere(bad)[0]
            by = "several CTAs" if other[i, j] < 0 else f"CTA number {other[i, j] - 1}"
            where = self.memory.describe(int(at[i, j]) << self.memory.shift)
            text = f"{mine} of {where}, also {theirs} by {by} ({bad.sum()} granules)"
            self.memory.launch.report("cross-cta", who, ins, rows[i], lane[i], text)
