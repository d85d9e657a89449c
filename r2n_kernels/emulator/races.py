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
from .findings import Access
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
        self.memory, self.columns, self.written = memory, columns, written
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

    def leave_blank(self, start: int, unwritten: Array) -> None:
        """Note that nobody wrote these bytes, from an offset on."""
        if self.blank is None:
            blank: Array = np.zeros(len(self.wclock), np.bool_)
            self.blank = blank
        size, shift = 1 << self.memory.shift, self.memory.shift
        before = start % size
        padded: Array = np.ones(-(-(before + len(unwritten)) // size) * size, np.bool_)
        padded[before : before + len(unwritten)] = unwritten
        of_granules = np.asarray(padded.reshape(-1, size).all(1))
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
        a = Access(self.memory, who, ins, at, rows, lane)
        wclock = self.wclock.take(at)
        late = self._unordered_writes(a, wclock)
        if late is not None:
            a.tell_race(self, late, "read of a write not ordered before it")
        if not self.written:
            never = wclock == 0
            if never.any():
                if self.strong is not None:
                    never &= ~self.strong.clock[at].any(2)
                if never.any():
                    a.tell_race(self, never, UNWRITTEN, "uninitialised")
        elif self.blank is not None:
            self._look_for_blank(a)
        if proxy:
            unseen = wclock > who.proxy[rows[:, None], self.wthread[at] // LANES]
            if unseen.any():
                text = "async-proxy read of a generic write without fence.proxy.async"
                a.tell_race(self, unseen, text, "proxy")
        if self.wblock is not None:
            self._meet_writer(a, "read")
        if self.strong is not None:
            self._meet(a, self.strong, "read", "atomic", "changed atomically", kind="mixed")
        self.reads.note(who, at, rows, pending, keep=self._stamp > PENDING)

    def write(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array,
        *, differs: Differs | None = None, pending: bool = False,
    ) -> None:  # fmt: skip
        """Check and note weak writes. differs: without it, all change memory."""
        a = Access(self.memory, who, ins, at, rows, lane)
        wclock = self.wclock.take(at)
        late = self._unordered_writes(a, wclock)
        if late is not None and differs is not None:
            same = (self.windex.take(at) == ins.index + 1).all(1)
            late &= differs(same)[:, None] | (wclock >= PENDING)
        if late is not None and late.any():
            a.tell_race(self, late, "write over a write not ordered before it")
        for others, name, did in (
            (self.reads, "read", "read"), (self.strong, "atomic", "changed atomically"),
            (self.polls, "read", "read"),
        ):  # fmt: skip
            if others is not None:
                self._meet(a, others, "write", name, did)
                others.forget(at)
        if self.wblock is not None:
            self._meet_writer(a, "write", differs)
            self.wblock[at] = a.block
        self.wclock[at] = PENDING if pending else who.own[rows][:, None]
        self.wthread[at] = a.thread
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
        a = Access(self.memory, who, ins, at, rows, lane)
        late = self._unordered_writes(a, self.wclock.take(at))
        if late is not None:
            a.tell_race(self, late, "atomic access to a write not ordered before it")
        if self.wblock is not None:
            self._meet_writer(a, "atomic access")
        if order.reads and self.blank is not None:
            self._look_for_blank(a)
        if order.cta and self.strong is not None:
            foreign = self.strong.foreign(who, at, rows)
            if foreign is not None:
                a.tell("race", foreign, "atomic of scope cta meets one of another CTA: {where}")
        written = at if wrote is None else at[wrote]
        if order.writes and len(written):
            self._meet(a, self.reads, "atomic access", "read", "read", kind="mixed")
            if self.blank is not None:
                self.blank[written] = False
            self.strong = self.strong or self._history()
            self.strong.note(who, at, rows, 0, keep=False)
        else:
            self.polls = self.polls or self._history()
            self.polls.note(who, at, rows, 0, keep=False)
        if self.columns.synchronises:  # last, as an acquire orders what follows it, not itself
            self.messages.pass_on(who, at[:, 0], rows, order, wrote)

    def _history(self) -> History:
        return History(len(self.wclock), self.columns, many=self.wblock is not None)

    def clash(
        self, who: Agents, ins: Instruction, at: Array, rows: Array, lane: Array, differs: Array
    ) -> None:
        """Report what CTAs side by side wrote to one place in this very instruction."""
        if self.wblock is not None:
            a = Access(self.memory, who, ins, at, rows, lane)
            last = self.wblock.take(at)
            lost = last != a.block
            a.tell_meeting(lost & differs[:, None], last, "write", "written")
            a.tell_meeting(lost & ~differs[:, None], last, "write", "written", "cross-cta")

    def retire_reads(self, who: Agents, at: Array, rows: Array, stamp: int) -> None:
        """Complete asynchronous reads; later ones of the same bytes may still be in flight."""
        self.reads.retire(who, at, rows, stamp)

    def retire_writes(self, who: Agents, at: Array, rows: Array) -> None:
        self.wclock[at] = who.own[rows][:, None]

    def _unordered_writes(self, a: Access, wclock: Array) -> Array | None:
        """Return where the CTA's last write is not ordered before this access, None if nowhere."""
        if not wclock.size or wclock.max() <= a.who.seen:
            return None
        wthread = self.wthread.take(a.at)
        late = wclock > a.who.before[a.rows[:, None], wthread // LANES]
        if late.any():
            late &= (wthread != a.thread) | (wclock >= PENDING)
            if self.wblock is not None:
                late &= self.wblock[a.at] == a.block
        return late if late.any() else None

    def _meet_writer(self, a: Access, what: str, differs: Differs | None = None) -> None:
        """Report where the last write is another CTA's, and nothing orders it before this access.

        It is advice where both write one value.
        """
        assert self.wblock is not None
        other = self.wblock.take(a.at)
        bad = (other != 0) & (other != a.block)
        if not bad.any():
            return
        if self.columns.synchronises:
            i, j = np.nonzero(bad)
            clock, warp = self.wclock[a.at[i, j]], self.wthread[a.at[i, j]] // LANES
            known = a.who.known(a.rows[i], other[i, j])[np.arange(len(i)), warp]
            bad[i, j] = clock > known
        changes = np.ones((len(a.at), 1), np.bool_)
        if differs is not None and bad.any():
            changes = differs(np.zeros(len(a.at), np.bool_))[:, None]
        a.tell_meeting(bad & changes, other, what, "written")
        a.tell_meeting(bad & ~changes, other, what, "written", "cross-cta")

    def _meet(
        self, a: Access, others: History, what: str, name: str, did: str, kind: str = "race"
    ) -> None:
        """Report accesses that are not ordered before this one; `kind` is for those of one CTA."""
        early = others.unordered(a.who, a.at, a.rows)
        if early is not None:
            warps = np.flatnonzero(early.any((0, 1))).tolist()
            over = "of" if what == "read" else "over"
            text = f"{what} {over} a {name} not ordered before it (of warps {warps})"
            by_any = np.asarray(early.any(2))
            a.tell_race(self, by_any, text.replace("a atomic", "an atomic"), kind)
        foreign = others.foreign(a.who, a.at, a.rows)
        if foreign is not None:
            assert others.block is not None
            a.tell_meeting(foreign, others.block.take(a.at), what, did)

    def _look_for_blank(self, a: Access) -> None:
        assert self.blank is not None
        never: Array = self.blank.take(a.at)
        if never.any():
            a.tell_race(self, never, UNWRITTEN, "uninitialised")
