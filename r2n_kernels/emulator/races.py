"""Races are found by happens-before, from the order that the code enforces, whatever order was run.

Every granule of memory (the greatest common width of accesses) keeps its last weak write and, for
reads and atomics, the last one of each warp, stamped with that warp's clock; barriers join clocks
within a CTA, acquire and release between CTAs. What is in flight is stamped PENDING until it is
waited for. Lanes of one warp need a warp-level barrier between write and read.

Not checked: write after read between lanes of one warp, nor an atomic and what follows it there. A
conflict of two writes counts only where the values differ (see replicas.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .clocks import PENDING, Agents, Columns, Messages, Order
from .history import History
from .types import LANES, Array

if TYPE_CHECKING:
    from .memory import Memory
    from .parse import Instruction

UNWRITTEN = "read of memory that nobody wrote"
# differs(where the writer before was the same instruction): which accesses change memory
Differs = Callable[[Array], Array]


class Shadow:
    """A Shadow is the history of every granule of a memory.

    Granules are given as [n, k], k per access, with the row of `who` and the lane of each access.
    """

    def __init__(self, memory: Memory, columns: Columns, *, many: bool, written: bool) -> None:
        """`many`: CTAs share this memory. `written`: it holds the arguments from the start."""
        n = len(memory.data) >> memory.shift
        self.memory, self.columns, self.many, self.written = memory, columns, many, written
        self.wclock = np.zeros(n, np.int32)  # clock of the last weak write, ...
        self.wthread = np.zeros(n, np.int32)  # ... its thread in the CTA, ...
        self.windex = np.zeros(n, np.int32)  # ... 1 + its instruction, ...
        self.wblock = np.zeros(n, np.int32) if many else None  # ... and its block
        self.reads = History(n, columns, many=many)
        self.strong: History | None = None  # atomics and other strong writes ...
        self.polls: History | None = None  # ... and strong reads, once there are any
        self.messages = Messages()
        self.blank: Array | None = None  # granules of arguments that nobody wrote
        self._stamp = PENDING

    def leave_blank(self, start: int, bytes_: Array) -> None:
        """Note that nobody wrote these bytes, from an offset on."""
        if self.blank is None:
            self.blank = np.zeros(len(self.wclock), np.bool_)
        size, shift = 1 << self.memory.shift, self.memory.shift
        before = start % size
        padded = np.ones(-(-(before + len(bytes_)) // size) * size, np.bool_)
        padded[before : before + len(bytes_)] = bytes_
        of_granules = padded.reshape(-1, size).all(1)
        self.blank[start >> shift : (start >> shift) + len(of_granules)] = of_granules

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
                if self.strong is not None:
                    never &= ~self.strong.clock[at].any(2)
                if never.any():
                    self._race(who, ins, at, rows, lane, never, UNWRITTEN, "uninitialised")
        elif self.blank is not None:
            self._look_for_blank(who, ins, at, rows, lane)
        if proxy:
            unseen = wclock > who.proxy[rows[:, None], self.wthread[at] // LANES]
            if unseen.any():
                text = "async-proxy read of a generic write without fence.proxy.async"
                self._race(who, ins, at, rows, lane, unseen, text, "proxy")
        if self.many:
            self._meet_write(who, ins, at, rows, lane, "read")
        if self.strong is not None:
            self._meet(who, ins, at, rows, lane, self.strong, "read of an atomic", "mixed")
        self.reads.note(who, at, rows, pending, keep=self._stamp > PENDING)

    def write(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array,
        *, differs: Differs | None = None, pending: bool = False,
    ) -> None:  # fmt: skip
        """Check and note weak writes. differs: without it, all change memory."""
        wclock = self.wclock.take(at)
        late = self._unordered_writes(who, at, rows, lane, wclock)
        if late is not None and differs is not None:
            same = (self.windex.take(at) == ins.index + 1).all(1)
            late &= differs(same)[:, None] | (wclock >= PENDING)
        if late is not None and late.any():
            self._race(who, ins, at, rows, lane, late, "write over a write not ordered before it")
        for others, over in ((self.reads, "read"), (self.strong, "atomic"), (self.polls, "read")):
            if others is not None:
                self._meet(who, ins, at, rows, lane, others, f"write over a {over}", "race")
                others.forget(at)
        if self.wblock is not None:
            self._meet_write(who, ins, at, rows, lane, "write", differs)
            self.wblock[at] = who.block[rows][:, None]
        self.wclock[at] = PENDING if pending else who.own[rows][:, None]
        self.wthread[at] = (who.agent[rows] * LANES + lane)[:, None]
        self.windex[at] = ins.index + 1
        if self.blank is not None:
            self.blank[at] = False

    def access(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, order: Order,
        wrote: Array | None = None,
    ) -> None:  # fmt: skip
        """Check, note and order strong accesses: atomics, and loads and stores that are no weak
        ones. wrote: which accesses wrote, where not all did (a failed compare-and-swap).
        """
        late = self._unordered_writes(who, at, rows, lane, self.wclock.take(at))
        if late is not None:
            text = "atomic access to a write not ordered before it"
            self._race(who, ins, at, rows, lane, late, text)
        if self.many:
            self._meet_write(who, ins, at, rows, lane, "atomic access")
        if order.reads and self.blank is not None:
            self._look_for_blank(who, ins, at, rows, lane)
        if self.columns.synchronises:
            self.messages.pass_on(who, at[:, 0], rows, order, wrote)
        written = at if wrote is None else at[wrote]
        if order.writes and len(written):
            self._meet(who, ins, at, rows, lane, self.reads, "atomic over a read", "mixed")
            if self.blank is not None:
                self.blank[written] = False
        kind = "strong" if order.writes and len(written) else "polls"
        history: History | None = getattr(self, kind)
        if history is None:
            history = History(len(self.wclock), self.columns, many=self.many)
            setattr(self, kind, history)
        if order.cta and self.strong is not None and self.many:
            foreign = self.strong.foreign(who, at, rows)
            if foreign is not None:
                text = "an atomic of scope cta meets one of another CTA"
                self._race(who, ins, at, rows, lane, foreign, text)
        history.note(who, at, rows, 0, keep=False)

    def retire_reads(self, who: Agents, at: Array, rows: Array, stamp: int) -> None:
        """Complete asynchronous reads; later ones of the same bytes may still be in flight."""
        self.reads.retire(who, at, rows, stamp)

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

    def _meet_write(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, what: str,
        differs: Differs | None = None,
    ) -> None:  # fmt: skip
        """Report where the last write is another CTA's, and nothing orders it before this access.

        It is advice where both write one value.
        """
        assert self.wblock is not None
        other = self.wblock.take(at)
        bad = (other != 0) & (other != who.block[rows][:, None])
        if not bad.any():
            return
        if self.columns.synchronises:
            i, j = np.nonzero(bad)
            clock, warp = self.wclock[at[i, j]], self.wthread[at[i, j]] // LANES
            known = who.known(rows[i], other[i, j])[np.arange(len(i)), warp]
            bad[i, j] = clock > known
        changes = np.ones(len(at), np.bool_)
        if differs is not None and bad.any():
            changes = differs(np.zeros(len(at), np.bool_))
        for kind, where in (("race", changes), ("cross-cta", ~changes)):
            self._between(who, ins, at, rows, lane, bad & where[:, None], other, what, kind)

    def clash(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, differs: Array
    ) -> None:
        """Report what CTAs side by side wrote to one place in this very instruction."""
        if self.wblock is not None:
            last = self.wblock.take(at)
            lost = last != who.block[rows][:, None]
            for kind, where in (("race", differs), ("cross-cta", ~differs)):
                bad = lost & where[:, None]
                self._between(who, ins, at, rows, lane, bad, last, "write", kind)

    def _between(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, bad: Array,
        other: Array, what: str, kind: str, did: str = "written",
    ) -> None:  # fmt: skip
        if bad.any():
            i, j = np.argwhere(bad)[0]
            by = "several CTAs" if other[i, j] < 0 else f"CTA number {other[i, j] - 1}"
            where = self.memory.describe(int(at[i, j]) << self.memory.shift)
            text = f"{what} of {where}, also {did} by {by}, and nothing orders the two"
            if kind == "cross-cta":
                text = f"{what} of {where}, also {did} by {by}, with the same value"
            text += f" ({bad.sum()} granules)"
            self.memory.launch.report(kind, who, ins, rows[i], lane[i], text)

    def _meet(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, others: History,
        text: str, kind: str,
    ) -> None:  # fmt: skip
        """Report accesses that are not ordered before this one; `kind` is for those of one CTA."""
        early = others.unordered(who, at, rows)
        if early is not None:
            warps = np.flatnonzero(early.any((0, 1))).tolist()
            text = f"{text} not ordered before it (of warps {warps})"
            self._race(who, ins, at, rows, lane, early.any(2), text, kind)
        foreign = others.foreign(who, at, rows)
        if foreign is not None:
            assert others.block is not None
            what, _, did = text.partition(" ")
            did = "read" if "read" in did and what != "read" else "changed atomically"
            other = others.block.take(at)
            self._between(who, ins, at, rows, lane, foreign, other, what, "race", did)

    def _look_for_blank(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array
    ) -> None:
        assert self.blank is not None
        never = self.blank.take(at)
        if never.any():
            self._race(who, ins, at, rows, lane, never, UNWRITTEN, "uninitialised")

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
