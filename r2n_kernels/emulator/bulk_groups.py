"""Bulk copies out of shared memory are in flight until the thread that issued them waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .types import LANES, Array

if TYPE_CHECKING:
    from .group import Group
    from .ops.transfers import Transfer
    from .parse import Instruction


@dataclass
class Store:
    """A Store is a bulk copy out of shared memory, by one thread."""

    row: int
    lane: int
    number: int  # of the group that it is in, by thread
    transfer: Transfer
    stamp: int
    apply: Callable[[], None]  # what lands it
    orders: bool = True  # no reduction, of which several may meet
    read: bool = False  # is its source free?


class BulkGroups:
    """BulkGroups are the bulk copies of a group of warps: each thread commits and waits alone."""

    def __init__(self, warps: int) -> None:
        self.committed = np.zeros((warps, LANES), np.int64)
        self.flying: list[Store] = []

    def commit(self, lanes: Array) -> None:
        self.committed.reshape(-1)[lanes] += 1

    def wait(self, g: Group, lanes: Array, keep: int, *, read: bool) -> None:
        """Complete all but the newest `keep` groups of some threads, or only their reads."""
        if not self.flying:
            return
        chosen = np.zeros(self.committed.size, np.bool_)
        chosen[lanes] = True
        left = []
        for store in self.flying:
            place = store.row * LANES + store.lane
            done = store.number < self.committed.reshape(-1)[place] - keep
            if chosen[place] and done:
                self._finish(g, store, read=read)
            if not (chosen[place] and done and not read):
                left.append(store)
        self.flying = left

    def _finish(self, g: Group, store: Store, *, read: bool) -> None:
        transfer = store.transfer
        if not transfer.landed:
            store.apply()
            transfer.landed = True
        shared, memory = transfer.shared.shadow, transfer.memory.shadow
        if shared is None or memory is None:
            return
        if not store.read:
            at = transfer.unit_granules()
            shared.retire_reads(g, at, np.full(len(at), store.row), store.stamp)
            store.read = True
        if not read and store.orders:
            at = transfer.granules()
            memory.retire_writes(g, at, np.full(len(at), store.row))

    def end(self, g: Group, ins: Instruction) -> None:
        """Complete what is in flight when the warps end."""
        for store in self.flying:
            if not store.read:
                text = "a warp ends while its bulk copies read shared memory"
                g.launch.report("race", g, ins, store.row, store.lane, text)
            self._finish(g, store, read=False)
        self.flying = []

    def forget(self, lanes: Array) -> None:
        """Leave the copies of some lanes, [warps, 32], to others."""
        self.flying = [store for store in self.flying if not lanes[store.row, store.lane]]

    def add(self, other: BulkGroups, at: Array, lanes: Array) -> None:
        """Take over the copies of some lanes, whose rows are at `at` here."""
        self.committed[at] = np.where(lanes, other.committed, self.committed[at])
        self.flying += [replace(store, row=int(at[store.row])) for store in other.flying]

    def take(self, rows: Array) -> BulkGroups:
        """Return the part of some rows of the group."""
        part, numbers = BulkGroups(0), np.cumsum(rows) - 1
        part.committed = self.committed[rows]
        for store in self.flying:
            if rows[store.row]:
                part.flying.append(replace(store, row=int(numbers[store.row])))
        return part
