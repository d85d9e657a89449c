"""Vector clocks say what happened before: within a CTA, and between CTAs that synchronise.

The memory model is PTX's, seen in the order that was run: an acquire is ordered behind the releases
whose values reach it (through chains of atomics too), a fence makes a release of the strong write
behind it and an acquire of the strong read before it. Barriers of a CTA order its warps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .types import Array

PENDING = 1 << 30  # clocks from here on: of asynchronous accesses that nobody has waited for
STRONG = {"relaxed", "acquire", "release", "acq_rel", "volatile", "mmio"}


@dataclass(frozen=True)
class Order:
    """An Order says what a strong access does. cta: it concerns threads of its own CTA alone."""

    reads: bool
    writes: bool
    acquire: bool
    release: bool
    cta: bool


def order_of(base: str, modifiers: Sequence[str]) -> Order | None:
    """Return the order of an instruction: None for weak accesses and for what is no access."""
    said = set(modifiers)
    acq_rel = "acq_rel" in said or "sc" in said
    acquire, release = acq_rel or "acquire" in said, acq_rel or "release" in said
    cta = "cta" in said
    if base in ("atom", "red"):
        return Order(True, True, acquire, release, cta)
    if base in ("ld", "st") and said & STRONG:
        return Order(base == "ld", base == "st", acquire, release, cta)
    return None


def is_fence(base: str, modifiers: Sequence[str]) -> bool:
    """Return whether an instruction orders memory for other CTAs, but for the async proxy."""
    fences = base == "membar" or (base == "fence" and bool({"acq_rel", "sc"} & set(modifiers)))
    return fences and "cta" not in modifiers


class Columns:
    """Columns are those of a clock: of the CTA's agents, and of those of every CTA.

    The latter only where a kernel `synchronises`: those known to have happened before; and, where
    it has fences, those that the last fence makes known, and those that the next one gets to know.
    """

    def __init__(
        self, agents: int, places: Sequence[int], *, synchronises: bool, fences: bool
    ) -> None:
        every = agents * len(places)
        self.agents, self.synchronises = agents, synchronises
        self.total = agents + every * (3 if fences else 1) * synchronises
        self.known = slice(agents, agents + every)
        self.fenced, self.observed = (
            slice(agents + i * every, agents + (i + 1) * every) if fences else None for i in (1, 2)
        )
        self.first: Array = np.zeros(0, np.int64)  # of a block, counted from those known
        if synchronises:
            self.first = np.zeros(max(places, default=0) + 2, np.int64)
            self.first[np.asarray(places, np.int64) + 1] = np.arange(len(places)) * agents

    def zeros(self, rows: int) -> Array:
        return np.zeros((rows, self.total), np.int32)


class Agents:
    """Agents are warps, or tensor cores, with their vector clocks: one row each.

    clock [rows, columns]: accesses of agent u up to clock[u] happened before; those up to proxy[u]
    are visible to the async proxy too. warp: number in the CTA; cta: place in the batch; agent:
    number in the cluster; block: 1 + place in the grid, of the cluster where there are any.
    """

    def __init__(
        self, warp: Array, cta: Array, block: Array, clock: Array, proxy: Array, agent: Array,
        columns: Columns,
    ) -> None:  # fmt: skip
        self.warp, self.cta, self.block, self.clock, self.proxy = warp, cta, block, clock, proxy
        self.agent, self.columns = agent, columns
        self._refresh()

    def _refresh(self) -> None:
        rows, mine = np.arange(len(self.agent)), self.clock[:, : self.columns.agents]
        self.own = mine[rows, self.agent]
        self.before = mine.copy()  # writes up to here are visible to other lanes
        self.before[rows, self.agent] -= 1
        self.seen, self.read = self.before.min(), mine.min()  # by all rows, of all agents

    def tick(self, rows: Array | slice = slice(None)) -> None:
        """Begin an interval: what was done so far is ordered before what these rows do next."""
        self.clock[np.arange(len(self.agent))[rows], self.agent[rows]] += 1
        self._refresh()

    def join(self, clock: Array, proxy: Array, rows: Array | slice = slice(None)) -> None:
        """Order all up to these clocks, [rows, columns], before what the rows do next."""
        self.clock[rows] = np.maximum(self.clock[rows], clock)
        self.proxy[rows] = np.maximum(self.proxy[rows], proxy)
        self.tick()

    def show_own(self) -> None:
        """Make these agents' own accesses visible to the asynchronous proxy, which they are of."""
        rows = np.arange(len(self.agent))
        self.proxy[rows, self.agent] = self.clock[rows, self.agent]

    def fence_proxy(self, rows: Array | slice = slice(None)) -> None:
        """Make what happened before visible to the asynchronous proxy too."""
        self.proxy[rows] = self.clock[rows, : self.columns.agents]
        self.tick()

    def fence(self) -> None:
        """Let the next strong write release all so far; acquire what strong reads have seen."""
        columns = self.columns
        if columns.fenced is not None and columns.synchronises:
            for row in range(len(self.agent)):
                self.learn(row, self.clock[row, columns.observed])
                self.clock[row, columns.fenced] = self.message(row)
            self.tick()

    def message(self, row: int) -> Array:
        """Return the clocks that a release of this row publishes: of all CTAs."""
        known, mine = self.clock[row, self.columns.known].copy(), self._mine(row)
        known[mine] = np.maximum(known[mine], self.clock[row, : self.columns.agents])
        return known

    def learn(self, row: int, message: Array) -> None:
        """Order what a message knows of before what the row does next."""
        known, own = self.clock[row, self.columns.known], self.clock[row, : self.columns.agents]
        np.maximum(known, message, out=known)
        np.maximum(own, message[self._mine(row)], out=own)

    def _mine(self, row: int) -> slice:
        first = int(self.columns.first[self.block[row]])
        return slice(first, first + self.columns.agents)

    def known(self, rows: Array, blocks: Array) -> Array:
        """Return what the rows know of the agents of other blocks: [rows, agents]."""
        columns = self.columns
        at = columns.agents + columns.first[blocks][:, None] + np.arange(columns.agents)
        return self.clock[rows[:, None], at]


class Messages:
    """Messages are the clocks left at places of a memory by strong writes, for those who read them.

    Those of scope cta are kept by block, as no other block may learn from them.
    """

    def __init__(self) -> None:
        self.left: dict[tuple[int, int], Array] = {}  # (place, block or 0 for everybody)

    def pass_on(
        self, who: Agents, at: Array, rows: Array, order: Order, wrote: Array | None
    ) -> None:
        """Let accesses at places [n], row after row, learn and leave messages. wrote: which do."""
        moved = np.unique(rows)
        for row in moved:
            mine, block = rows == row, int(who.block[row])
            audience = (block,) if order.cta else (0, block)
            if order.reads:
                self._receive(who, row, [(int(p), b) for p in set(at[mine]) for b in audience],
                              order)  # fmt: skip
            if order.writes:
                places = at[mine] if wrote is None else at[mine & wrote]
                self._leave(who, row, [(int(p), b) for p in set(places) for b in audience], order)
        if order.release:
            who.tick(moved)
        elif order.acquire:
            who.tick(np.zeros(0, np.int64))

    def _receive(self, who: Agents, row: int, keys: list, order: Order) -> None:
        found = {id(m): m for m in (self.left.get(key) for key in keys) if m is not None}
        for message in found.values():
            if order.acquire:
                who.learn(row, message)
            elif who.columns.observed is not None:
                observed = who.clock[row, who.columns.observed]
                np.maximum(observed, message, out=observed)

    def _leave(self, who: Agents, row: int, keys: list, order: Order) -> None:
        message = None
        if order.release:
            message = who.message(row)
        elif who.columns.fenced is not None:
            message = who.clock[row, who.columns.fenced].copy()
        for key in keys:
            old = self.left.get(key) if order.reads else None  # a store ends a chain of releases
            if message is not None and old is not None and not (order.acquire and order.release):
                self.left[key] = np.maximum(message, old)
            elif message is not None:
                self.left[key] = message
            elif old is None:
                self.left.pop(key, None)
