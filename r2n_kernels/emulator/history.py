"""A History keeps who accessed what: the last access of every agent to every granule."""

from __future__ import annotations

import numpy as np

from .clocks import Agents, Columns
from .types import Array

SEVERAL = -1  # blocks have accessed a granule
FORGOTTEN = -2  # they have, and there was no memory left to keep which: no longer checked
EVER = np.int32(2**31 - 1)  # later than any clock
KEPT_BYTES = 1 << 28  # of the clocks of granules that several blocks accessed


class History:
    """A History is the accesses of one kind to a memory's granules, `many` blocks' or one's each.

    clock [granules, agents]: of the last access by every agent of one block, or stale where several
    blocks had access: those are equal before the law unless CTAs synchronise, which is when `more`
    keeps their clocks, at [place of a granule, agents of all CTAs].
    """

    def __init__(self, granules: int, columns: Columns, *, many: bool) -> None:
        self.columns, self.agents = columns, columns.agents
        self.clock = np.zeros((granules, self.agents), np.int32)
        self._flat = self.clock.reshape(-1)  # the same, as indexing by places is faster
        self.block = np.zeros(granules, np.int32) if many else None
        self._place: Array | None = None  # of a granule in `more`
        self.more = np.zeros((0, columns.known.stop - columns.known.start), np.int32)
        self._used = 1

    def note(self, who: Agents, at: Array, rows: Array, stamp: int, *, keep: bool) -> None:
        """Note accesses of granules [n, k]. stamp: of those in flight. keep: others may be."""
        if self.block is not None:
            self._note_blocks(who, at, rows, stamp, keep)
        place = at * self.agents + who.agent[rows][:, None]
        clock = stamp or who.own[rows][:, None]
        if keep and not stamp:  # another may be in flight, and must not be hidden
            clock = np.maximum(self._flat.take(place), clock)
        self._flat[place] = clock

    def _note_blocks(self, who: Agents, at: Array, rows: Array, stamp: int, keep: bool) -> None:
        assert self.block is not None
        mine, old = who.block[rows][:, None], self.block.take(at)
        if not self.columns.synchronises:
            if (old != SEVERAL).any():
                self.block[at] = np.where((old == 0) | (old == mine), mine, SEVERAL)
                lost = self.block[at] != mine  # blocks side by side in this very instruction
                self.block[at[lost]] = SEVERAL
            return
        if (old == mine).all():
            return
        fresh = at[old == 0]
        self.clock[fresh] = 0
        self.block[fresh] = np.broadcast_to(mine, at.shape)[old == 0]
        old = self.block.take(at)
        meet = (old != mine) & (old > 0)
        if meet.any():
            self._spread(np.unique(at[meet]))
            old = self.block.take(at)
        several = old == SEVERAL
        if several.any():
            i, _ = np.nonzero(several)
            assert self._place is not None
            place, row = self._place[at[several]], rows[i]
            column = self.columns.first[who.block[row]] + who.agent[row]
            clock = stamp or who.own[row]
            if keep and not stamp:
                clock = np.maximum(self.more[place, column], clock)
            self.more[place, column] = clock

    def _spread(self, granules: Array) -> None:
        """Move the clocks of granules to where there is room for several blocks."""
        assert self.block is not None
        if self._place is None:
            self._place = np.zeros(len(self.block), np.int32)
        new = granules[self._place[granules] == 0]
        need = self._used + len(new)
        if need > len(self.more):
            room = max(2 * len(self.more), need, 64)
            if room * self.more.shape[1] * 4 > KEPT_BYTES:
                self.block[granules] = FORGOTTEN
                return
            more = np.zeros((room, self.more.shape[1]), np.int32)
            more[: len(self.more)] = self.more
            self.more = more
        self._place[new] = np.arange(self._used, need)
        self._used = need
        place = self._place[granules]
        self.more[place] = 0
        first = self.columns.first[self.block[granules]]
        self.more[place[:, None], first[:, None] + np.arange(self.agents)] = self.clock[granules]
        self.block[granules] = SEVERAL

    def forget(self, at: Array) -> None:
        """Drop what a write that follows it all stands for from now on."""
        if self.block is not None and self.columns.synchronises:
            self.block[at] = 0
            self.clock[at] = 0

    def retire(self, who: Agents, at: Array, rows: Array, stamp: int) -> None:
        """Complete accesses in flight; later ones of the same bytes may still be."""
        place = at * self.agents + who.agent[rows][:, None]
        old = self._flat.take(place)
        self._flat[place] = np.where(old == stamp, who.own[rows][:, None], old)
        if self._place is not None and self.block is not None:
            several = self.block[at] == SEVERAL
            i, _ = np.nonzero(several)
            place, row = self._place[at[several]], rows[i]
            column = self.columns.first[who.block[row]] + who.agent[row]
            old = self.more[place, column]
            self.more[place, column] = np.where(old == stamp, who.own[row], old)

    def unordered(self, who: Agents, at: Array, rows: Array) -> Array | None:
        """Return which agents of one's own CTA are not ordered before: [n, k, agents] or None."""
        clock = self.clock.take(at, axis=0)
        if not clock.size or clock.max() <= who.read:
            return None
        early = clock > who.clock[rows, : self.agents][:, None, :]
        if self.block is not None:
            block = self.block[at]
            early &= (block == who.block[rows][:, None])[..., None]
            if self._place is not None and (block == SEVERAL).any():
                i, j = np.nonzero(block == SEVERAL)
                first = self.columns.first[who.block[rows[i]]][:, None] + np.arange(self.agents)
                clock = self.more[self._place[at[i, j]][:, None], first]
                early[i, j] = clock > who.clock[rows[i], : self.agents]
        return early if early.any() else None

    def foreign(self, who: Agents, at: Array, rows: Array) -> Array | None:
        """Return where an access of another CTA is not ordered before: [n, k], or None."""
        if self.block is None:
            return None
        block = self.block.take(at)
        bad = (block != 0) & (block != who.block[rows][:, None])
        if not bad.any():
            return None
        if self.columns.synchronises:
            bad &= block != FORGOTTEN
            i, j = np.nonzero(bad & (block > 0))
            late = self.clock[at[i, j]] > who.known(rows[i], block[i, j])
            bad[i, j] = late.any(1)
            i, j = np.nonzero(bad & (block == SEVERAL))
            if len(i):
                assert self._place is not None
                known = who.clock[rows[i], self.columns.known].copy()
                own = self.columns.first[who.block[rows[i]]][:, None] + np.arange(self.agents)
                np.put_along_axis(known, own, EVER, 1)
                bad[i, j] = (self.more[self._place[at[i, j]]] > known).any(1)
        return bad if bad.any() else None
